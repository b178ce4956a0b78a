// Standard Webhooks, by its specification: the key is the base64 after `whsec_`; what is signed is id, time and raw
// body with full stops between them; one good `v1` signature among those listed will do.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { must, serve } from './receiver.mjs';

const TOLERANCE_SECS = 5 * 60;

serve((headers, body, secret) => {
  const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signatures } = headers;
  must(id && time && signatures, 'a header is missing');
  must(!id.includes('.') && /^\d+$/.test(time), `id and time: ${id} ${time}`);
  must(Math.abs(Date.now() / 1000 - Number(time)) <= TOLERANCE_SECS, `webhook-timestamp: ${time}`);
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  must(key.length >= 24 && key.length <= 64, `a key of ${key.length} bytes`);
  const mac = createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest();
  const isGood = (signature) => {
    const [version, text, ...more] = signature.split(',');
    const theirs = Buffer.from(text, 'base64');
    return version === 'v1' && more.length === 0 && theirs.length === mac.length && timingSafeEqual(theirs, mac);
  };
  must(signatures.split(' ').some(isGood), 'webhook-signature');
  return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
});

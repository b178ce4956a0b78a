// Standard Webhooks with a public key (`v1a`), by Node's own cryptography: the official packages know HMAC alone.
import { createPublicKey, verify } from 'node:crypto';
import { must, serve } from './receiver.mjs';

serve((headers, body, secret) => {
  const x = Buffer.from(secret.replace(/^whpk_/, ''), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const text = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`), body]);
  const signatures = headers['webhook-signature'].split(' ').filter((each) => each.startsWith('v1a,'));
  must(signatures.some((each) => verify(null, text, key, Buffer.from(each.slice(4), 'base64'))), 'webhook-signature');
  must(!('x-mailtura-signature' in headers || 'producer-signature' in headers), 'a signature that proves nothing');
  return JSON.parse(body);
});

// Mailtura's sample for Express, step by step: the body is parsed as express.json() does with its defaults, printed
// again, and the MAC of that is compared as text. And its rule about old events.
import { createHmac } from 'node:crypto';
import { must, serve } from './receiver.mjs';

const BODY_BYTES_MAX = 100 * 1024;
const AGE_MAX = 5 * 60 * 1000;

serve((headers, body, secret) => {
  must(headers['content-type'] === 'application/json', `content-type: ${headers['content-type']}`);
  must(headers['content-encoding'] === undefined, 'content-encoding');
  must(body.length <= BODY_BYTES_MAX, `${body.length} bytes`);
  const event = JSON.parse(body.toString('utf8'));
  const hash = createHmac('sha256', secret).update(JSON.stringify(event)).digest('hex');
  must(hash === headers['x-mailtura-signature'], 'x-mailtura-signature');
  must(Date.now() - new Date(event.timestamp).getTime() <= AGE_MAX, `timestamp: ${event.timestamp}`);
  must(typeof event.data.emailId === 'string', 'emailId');
  return event;
});

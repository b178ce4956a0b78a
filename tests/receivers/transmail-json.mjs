// A TransMail receiver of the newer kind: `producer-signature` in its three parts and their order, over the raw JSON
// body. It wants lists where real receivers index them.
import { createHmac } from 'node:crypto';
import { must, serve } from './receiver.mjs';

const SIGNATURE = /^ts=(\d{13});s=([^;]+);s-algorithm=HmacSHA256$/;
const AGE_MAX = 5 * 60 * 1000;

serve((headers, body, secret) => {
  must(headers['content-type'] === 'application/json', `content-type: ${headers['content-type']}`);
  const [, time, signature] = SIGNATURE.exec(headers['producer-signature']) ?? [];
  must(time, `producer-signature: ${headers['producer-signature']}`);
  must(Math.abs(Date.now() - Number(time)) <= AGE_MAX, `ts: ${time}`);
  const mac = createHmac('sha256', secret).update(body).digest('base64');
  must(decodeURIComponent(signature) === mac, 's');
  const event = JSON.parse(body.toString('utf8'));
  const [message] = event.event_message;
  for (const list of [event.event_name, event.event_message, message.event_data, message.event_data[0].details]) {
    must(Array.isArray(list) && list.length === 1, 'a list of one');
  }
  must(typeof message.email_info.is_smtp_trigger === 'boolean', 'is_smtp_trigger');
  must(message.request_id && event.mailagent_key && event.webhook_request_id, 'an id');
  return event;
});

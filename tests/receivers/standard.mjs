// Standard Webhooks, by the official package for Node.
// node standard.mjs FOLDER_OF_PACKAGES
import { createRequire } from 'node:module';
import { must, serve } from './receiver.mjs';

const { Webhook } = createRequire(`${process.argv[2]}/`)('standardwebhooks');

serve((headers, body, secret) => {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  must(key.length >= 24 && key.length <= 64, `a key of ${key.length} bytes`);
  must(!headers['webhook-id'].includes('.'), `webhook-id: ${headers['webhook-id']}`);
  return new Webhook(secret).verify(body, headers);
});

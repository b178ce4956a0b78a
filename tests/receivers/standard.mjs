// Standard Webhooks, by the official package for Node or another that verifies the same.
// node standard.mjs FOLDER_OF_PACKAGES PACKAGE
import { createRequire } from 'node:module';
import { must, serve } from './receiver.mjs';

const { Webhook } = createRequire(`${process.argv[2]}/`)(process.argv[3]);

serve((headers, body, secret) => {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  must(key.length >= 24 && key.length <= 64, `a key of ${key.length} bytes`);
  must(!headers['webhook-id'].includes('.'), `webhook-id: ${headers['webhook-id']}`);
  // Not every one gives back what it verified.
  return new Webhook(secret).verify(body, headers) ?? JSON.parse(body);
});

// Mailtura's sample for Express, step by step, on Express itself: the body is parsed by express.json() with its defaults,
// printed again, and the MAC of that is compared as text. And its rule about old events.
// node mailtura.mjs FOLDER_OF_PACKAGES
import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { answer, listen, must } from './receiver.mjs';

const AGE_MAX = 5 * 60 * 1000;
const express = createRequire(`${process.argv[2]}/`)('express');

listen((secret) => {
  const app = express();
  app.use(express.json());
  app.use((request, response) => answer(response, () => verify(request.headers, request.body, secret)));
  app.use((fault, _request, response, _next) => answer(response, () => must(false, fault.message)));
  return app;
});

function verify(headers, event, secret) {
  const hash = createHmac('sha256', secret).update(JSON.stringify(event)).digest('hex');
  must(hash === headers['x-mailtura-signature'], 'x-mailtura-signature');
  must(Date.now() - new Date(event.timestamp).getTime() <= AGE_MAX, `timestamp: ${event.timestamp}`);
  must(typeof event.data.emailId === 'string', 'emailId');
  return event;
}

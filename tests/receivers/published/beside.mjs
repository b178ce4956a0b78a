// Stands beside a published sample: starts it on a port of ours, hands each webhook on to it byte for byte, and tells what
// it made of it by its status.
// node beside.mjs express|flask|servlet FOLDER_OF_SAMPLES FOLDER_OF_PACKAGES
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, request as ask } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { answer, listen, must, read } from '../receiver.mjs';

const [kind, samples, packages] = process.argv.slice(2);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const started = {
  express: () => ['node', '--require', here('express.cjs'), `${samples}/express.js`],
  flask: () => ['python3', '-B', here('flask_beside.py'), `${samples}/flask_sample.py`],
  servlet: () => ['java', '-cp', readFileSync(`${samples}/classpath`, 'utf8'), here('Servlet.java')],
};

listen(async (secret) => {
  const port = await freePort();
  const [program, ...words] = started[kind]();
  const env = {
    ...process.env,
    PORT: port,
    MAILTURA_WEBHOOK_SECRET: secret,
    NODE_PATH: `${packages}/node/node_modules`,
    PYTHONPATH: `${packages}/python/flask`,
  };
  // The end of its standard input is its own, so that it does not outlive us, however we end.
  spawn(program, words, { env, stdio: ['pipe', 'ignore', 'inherit'] });
  await open(port);
  return async (request, response) => {
    const body = await read(request);
    const status = await handed(port, request.rawHeaders, body);
    answer(response, () => {
      must(status === 200, `the sample answered ${status}`);
      return JSON.parse(json(request.headers['content-type'], body));
    });
  };
});

function json(type, body) {
  return type === 'application/json' ? body.toString() : [...new URLSearchParams(body.toString()).values()][0];
}

function handed(port, rawHeaders, body) {
  return new Promise((resolve) => {
    const headers = [];
    for (let at = 0; at < rawHeaders.length; at += 2) headers.push([rawHeaders[at], rawHeaders[at + 1]]);
    const options = { port, host: '127.0.0.1', method: 'POST', path: '/webhooks/mailtura', headers: headers.flat(), agent: false };
    const passed = ask(options, (told) => {
      told.resume();
      resolve(told.statusCode);
    });
    passed.on('error', (fault) => resolve(fault.message));
    passed.end(body);
  });
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/// Returns when somebody listens there.
async function open(port) {
  for (;;) {
    const is_open = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket.end() && true));
      socket.on('error', () => resolve(false));
    });
    if (is_open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

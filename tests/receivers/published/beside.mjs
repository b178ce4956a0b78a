// Stands beside a published sample: starts it, hands each webhook on to it byte for byte, and tells what it made of it by
// its status.
// node beside.mjs express|flask|servlet FOLDER_OF_PACKAGES
import { spawn } from 'node:child_process';
import { request as ask } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { answer, listen, must, read } from '../receiver.mjs';

const [kind, packages] = process.argv.slice(2);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const jars = ['commons-codec', 'servlet-api', 'com.android.json'].map((jar) => `/usr/share/java/${jar}.jar`);
const started = {
  express: () => ['node', '--require', here('express.cjs'), here('samples/express.js')],
  flask: () => ['python3', '-B', here('flask_beside.py'), here('samples/flask_sample.py')],
  servlet: () => ['java', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', [...jars, `${packages}/java`].join(':'), 'Servlet'],
};

let child;
const start = async (secret) => {
  const [program, ...words] = started[kind]();
  const env = {
    ...process.env,
    MAILTURA_WEBHOOK_SECRET: secret,
    NODE_PATH: `${packages}/node/node_modules`,
    PYTHONPATH: `${packages}/python/flask`,
  };
  // The end of its standard input is its own, so that it does not outlive us, however we end. We do not outlive it, either.
  child = spawn(program, words, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  child.once('exit', (status) => process.exit(status || 1));
  child.stdin.on('error', () => {});
  child.stdin.write(`${secret}\n`);
  const lines = createInterface({ input: child.stdout });
  // The first line says where it listens; the others are the sample's own.
  const port = await new Promise((resolve) => lines.once('line', resolve));
  return async (request, response) => {
    const body = await read(request);
    const status = await handed(port, request.rawHeaders, body);
    answer(response, () => {
      must(status === 200, `the sample answered ${status}`);
      return JSON.parse(json(request.headers['content-type'], body));
    });
  };
};

listen(start, () => {
  if (!child) return;
  child.removeAllListeners('exit');
  child.stdin.end();
  return new Promise((resolve) => child.once('exit', resolve));
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

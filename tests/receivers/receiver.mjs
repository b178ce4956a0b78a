// What the Node receivers share. The first line of standard input is the secret, and its end is theirs, so that none
// outlives the test. They print one JSON line that says where they listen, then one for each request.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

/// Answers 200 to what `verify(headers, body, secret)` returns a payload for, and 401 to what it throws at.
export function serve(verify) {
  listen((secret) => async (request, response) => {
    const body = await read(request);
    answer(response, () => verify(request.headers, body, secret));
  });
}

/// Answers requests with the handler that `handler(secret)` makes. Before the end there is what `ended` has to do.
export function listen(handler, ended = () => {}) {
  const lines = createInterface({ input: process.stdin });
  lines.once('line', async (secret) => {
    const server = createServer(await handler(secret));
    server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
  });
  lines.on('close', async () => {
    await ended();
    process.exit();
  });
}

export async function read(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function answer(response, verify) {
  const told = judge(verify);
  console.log(JSON.stringify(told));
  response.writeHead(told.ok ? 200 : 401).end();
}

function judge(verify) {
  try {
    return { ok: true, why: '', ...about(verify()) };
  } catch (error) {
    return { ok: false, why: error.message, event: '', recipient: '' };
  }
}

/// What a payload of either family tells, and of whom.
function about(payload) {
  if (payload.type !== undefined) return { event: payload.type, recipient: payload.data.recipient ?? '' };
  const [to] = payload.event_message[0].email_info.to;
  return { event: payload.event_name[0], recipient: to?.email_address.address ?? '' };
}

export function must(holds, why) {
  if (!holds) throw new Error(why);
}

// What the Node receivers share. The first line of standard input is the secret, and its end is theirs, so that none
// outlives the test. They print one JSON line that says where they listen, then one for each request.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

/// Answers 200 to what `verify(headers, body, secret)` returns a payload for, and 401 to what it throws at.
export function serve(verify) {
  const lines = createInterface({ input: process.stdin });
  lines.once('line', (secret) => {
    const server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const told = judge(() => verify(request.headers, Buffer.concat(chunks), secret));
      console.log(JSON.stringify(told));
      response.writeHead(told.ok ? 200 : 401).end();
    });
    server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
  });
  lines.on('close', () => process.exit());
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
  if (payload.type !== undefined) return { event: payload.type, recipient: payload.data.recipient };
  return { event: payload.event_name[0], recipient: payload.event_message[0].email_info.to[0].email_address.address };
}

export function must(holds, why) {
  if (!holds) throw new Error(why);
}

// The official npm package with all five of its clients against the true program. Only base URLs and keys are ours.
// node zeptomail.mjs FOLDER BASE TOKEN KEY_ID AGENT_KEY
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, base, token, keyId, agentKey] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const zeptomail = require("zeptomail");
assert.equal(require("zeptomail/package.json").version, "8.0.1");

const from = { address: "billing@acme.example", name: "Acme Billing" };
const person = (name) => ({ email_address: { address: `${name}@example.com`, name } });

async function sends() {
  const client = new zeptomail.SendMailClient({ url: `${base}/`, token: `Zoho-enczapikey ${token}` }, { useHttps: false });
  const accepted = (told) => {
    assert.deepEqual([told.data[0].code, told.message, told.object], ["EM_104", "OK", "email"]);
    assert.match(told.request_id, /^2d6f\.[0-9a-f]{16}\.[mt]1\./);
    return told.request_id;
  };
  const one = accepted(
    await client.sendMail({
      from,
      to: [person("node")],
      cc: [person("node-cc")],
      bcc: [person("node-bcc")],
      reply_to: [{ address: "help@acme.example", name: "Help" }],
      subject: "Sent by Node",
      textbody: "text",
      htmlbody: '<b>html</b> <img src="cid:logo"> <a href="https://example.com/">link</a>',
      track_clicks: true,
      track_opens: true,
      client_reference: "node-1",
      mime_headers: { "X-Test": "test" },
      attachments: [{ content: Buffer.from("hello").toString("base64"), mime_type: "text/plain", name: "hello.txt" }],
      inline_images: [{ mime_type: "image/png", content: "iVBORw0KGgo=", cid: "logo" }],
    }),
  );
  accepted(
    await client.sendBatchMail({
      from,
      to: [{ ...person("node-a"), merge_info: { name: "Ann" } }, person("node-b")],
      merge_info: { name: "there" },
      subject: "Hi {{name}}",
      htmlbody: "<p>{{name}}</p>",
      client_reference: "ref-{{name}}",
    }),
  );
  accepted(await client.sendMailWithTemplate({ template_alias: "welcome", from, to: [person("node")], merge_info: { name: "T" } }));
  accepted(
    await client.mailBatchWithTemplate({
      template_key: "welcome",
      from,
      to: [{ ...person("node-a"), merge_info: { name: "A" } }, person("node-b")],
      merge_info: { name: "B" },
    }),
  );
  const refused = await client.sendMail({ from, to: [{ email_address: { address: "nobody@" } }], subject: "x" }).catch((e) => e);
  assert.deepEqual(refused.error.details[0], {
    code: "SM_113",
    message: "Invalid Email Address",
    target: "to",
    target_value: "nobody@",
  });
  const stranger = new zeptomail.SendMailClient({ url: `${base}/`, token: "Zoho-enczapikey nobody" }, { useHttps: false });
  const denied = await stranger.sendMail({ from, to: [person("node")], subject: "x", textbody: "y" }).catch((e) => e);
  assert.deepEqual([denied.error.code, denied.error.details[0].code], ["TM_4001", "SERR_157"]);
  const lost = new zeptomail.SendMailClient({ url: `${base}/v1.1/nothing`, token: "x" }, { useHttps: false });
  assert.equal((await lost.sendMail({ from, to: [person("node")], subject: "x" }).catch((e) => e)).error.message, "Not Found");
  return one;
}

// The clients that manage sign in with OAuth: an API key is client secret and refresh token, its id the client's.
function authentication(secret = token) {
  const client = new zeptomail.AuthenticationClient({ clientId: keyId, clientSecret: secret, refreshToken: secret });
  client.getTokenEndpoint = () => `${base}/oauth/v2/token`;
  client.getApiBaseUrl = () => `${base}/v1.1`;
  return client;
}

async function agents() {
  const client = new zeptomail.AgentClient({ authenticationClient: authentication() });
  const all = await client.getAllAgents();
  assert.deepEqual([all.status, all.data.map((agent) => agent.mailagent_key)], ["success", [agentKey]]);
  const { data: added } = await client.addAgent({ agentName: "Node", description: "by the SDK" });
  assert.equal(added.status, "active");
  const clash = await client.addAgent({ agentName: "Node", description: "again" }).catch((e) => e);
  assert.ok(clash instanceof zeptomail.ApiError);
  assert.deepEqual([clash.statusCode, clash.data.error.code, clash.data.status], [409, "MA_107", "failure"]);
  const { data: changed } = await client.updateAgent({ agentKey: added.mailagent_key, agentName: "Node 2", description: "changed" });
  assert.deepEqual([changed.mailagent_name, changed.description], ["Node 2", "changed"]);
  const of = { agentKey: added.mailagent_key };
  const { data: key } = await client.generateAPIKey(of);
  assert.equal(key.username, "emailapikey");
  assert.deepEqual((await client.getAPIKeys(of)).data.map((one) => one.id), [key.id]);
  const own = new zeptomail.SendMailClient({ url: `${base}/`, token: key.password }, { useHttps: false });
  await own.sendMail({ from, to: [person("node-own")], subject: "with a new key", textbody: "x" });
  const { data: password } = await client.generateSMTPPassword(of);
  assert.ok(password.password);
  assert.deepEqual((await client.getSMTPList(of)).data.map((one) => one.id), [password.id]);
  await client.deleteSMTPPassword({ ...of, passwordId: password.id });
  await client.revokeAPIKey({ ...of, id: key.id });
  assert.deepEqual((await client.getAPIKeys(of)).data, []);
  const early = await client.deleteAgent(of).catch((e) => e);
  assert.equal(early.data.error.code, "MA_101");
  // There is no call for this in the SDK: the original has it in its portal.
  await client.triggerRequest("PUT", { status: "shutdown" }, `/${added.mailagent_key}`);
  await client.deleteAgent(of);
  const stranger = new zeptomail.AgentClient({ authenticationClient: authentication("nobody") });
  assert.ok((await stranger.getAllAgents().catch((e) => e)) instanceof zeptomail.AuthenticationError);
}

async function domains() {
  const client = new zeptomail.DomainClient({ authenticationClient: authentication() });
  const { data: added } = await client.addDomain({
    domainName: "node.example",
    bounceDomainPrefix: "bounce",
    agentKeys: [agentKey],
  });
  assert.deepEqual([added.domain_name, added.cname.host, added.associated_mailagents], ["node.example", "bounce.node.example", [agentKey]]);
  const of = { domainKey: added.domain_key };
  const { data: verified } = await client.verifyDomain(of);
  assert.equal(verified.status, "verified", "in capture mode nobody is asked");
  const { data: shown } = await client.getDomainDetails(of);
  assert.deepEqual(shown.map((one) => one.domain_key), [added.domain_key]);
  const { data: changed } = await client.updateDomain({ ...of, newBounceDomainPrefix: "b2", disassociateAgents: [agentKey] });
  assert.deepEqual([changed.cname.host, changed.associated_mailagents], ["b2.node.example", []]);
  assert.ok((await client.getAllDomains()).data.some((one) => one.domain_key === added.domain_key));
  await client.deleteDomain(of);
  assert.equal((await client.getDomainDetails(of).catch((e) => e)).statusCode, 404);
}

async function suppressions() {
  const client = new zeptomail.SuppressionClient({ authenticationClient: authentication() });
  const values = ["stop@example.com", "stop2@example.com"];
  const { data: added } = await client.addSuppressionEntry({
    dndType: "email", values, action: "reject", agentKeys: [agentKey], description: "asked us to",
  });
  assert.deepEqual([added.suppression_type, added.values, added.action], ["email", values, "reject"]);
  await client.addSuppressionEntry({ dndType: "domain", values: ["spam.example"], action: "suppress" });
  const listed = await client.getSuppressionList({
    dndType: "email", dateFrom: Date.now() - 3600e3, dateTo: Date.now() + 3600e3, offset: 0, limit: 50, agentKey, searchValue: "stop@",
  });
  assert.deepEqual(listed.data.map((one) => [one.value, one.action, one.mailagent_keys]), [["stop@example.com", "reject", [agentKey]]]);
  await client.updateSuppressionEntry({ dndType: "email", values, action: "suppress", agentKeys: [agentKey] });
  await client.deleteSuppressionEntry({ dndType: "email", values });
  assert.deepEqual((await client.getSuppressionList({ dndType: "email" })).data, []);
  assert.equal((await client.getSuppressionList({ dndType: "domain" })).data[0].value, "spam.example");
  await client.deleteSuppressionEntry({ dndType: "domain", values: ["spam.example"] });
}

async function logs(requestId) {
  const client = new zeptomail.EmailLogsClient({ authenticationClient: authentication() });
  const all = await client.getAllEmailLogs();
  assert.ok(all.metadata.count >= 6);
  const found = await client.getAllEmailLogs({
    mailAgentKey: agentKey, requestId, from: from.address, to: "node@example.com", subject: "by Node", clientReference: "node-1",
    dateFrom: Date.now() - 3600e3, dateTo: Date.now() + 3600e3, offset: 0, limit: 10, isHardBounced: false,
  });
  assert.equal(found.data.logs.length, 1);
  const reference = found.data.logs[0].email_info.email_reference;
  for (const emailReference of [reference, requestId]) {
    const { data } = await client.getEmailDetails({ emailReference });
    assert.deepEqual([data.request_id, data.email_info.to], [requestId, [{ address: "node@example.com", name: "node" }]]);
  }
}

const requestId = await sends();
await agents();
await domains();
await suppressions();
await logs(requestId);

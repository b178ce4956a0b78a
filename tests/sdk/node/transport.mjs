// Nodemailer with the transport plugin for ZeptoMail's API. It knows nothing but https at the original's host, so what it
// asks of Node is led to the true program.
// node transport.mjs FOLDER BASE TOKEN
import assert from "node:assert/strict";
import http from "node:http";
import { createRequire } from "node:module";

const [folder, base, token] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
assert.equal(require("nodemailer-zeptomail-transport/package.json").version, "1.0.16");
const { hostname, port } = new URL(base);
require("node:https").request = (options, heard) => {
  assert.deepEqual([options.protocol, options.hostname, options.path], ["https:", "zeptomail.zoho.com", "/v1.1/email"]);
  return http.request({ ...options, protocol: "http:", hostname, port }, heard);
};

const { ZeptomailTransport } = require("nodemailer-zeptomail-transport");
const nodemailer = require("nodemailer");
const by = (apiKey) => nodemailer.createTransport(new ZeptomailTransport({ apiKey, region: "default" }));
const mail = {
  from: { address: "billing@acme.example", name: "Acme Billing" },
  to: "Node <node@example.com>, other@example.com",
  cc: "copy@example.com",
  subject: "By a transport",
  text: "text",
  html: "<b>html</b>",
};

const told = await by(`Zoho-enczapikey ${token}`).sendMail(mail);
assert.equal(told.response[0].code, "EM_104");
await assert.rejects(by("Zoho-enczapikey wrong").sendMail(mail), (told) => told.error.details[0].code === "SERR_157");
await assert.rejects(by(`Zoho-enczapikey ${token}`).sendMail({ ...mail, subject: "" }), (told) => told.error.details[0].code === "GE_102");

// Nodemailer with a pool, as most services run it, and with the settings that ZeptoMail's page shows.
import { readFileSync } from 'node:fs';
import assert from 'node:assert';
import nodemailer from 'nodemailer';

const { HOST: servername, FROM: from, TO: to } = process.env;
// By its address: it asks name servers itself for any name, `localhost` too.
const host = '127.0.0.1';
const tls = { ca: readFileSync(process.env.CA_FILE), servername };

const pool = nodemailer.createTransport({
    pool: true, maxConnections: 3, host, port: process.env.PORT_STARTTLS, requireTLS: true, tls,
    auth: { user: 'emailapikey', pass: process.env.API_KEY },
});
const mails = Array.from({ length: 20 }, (_, number) => pool.sendMail({
    from, to, subject: `nodemailer pooled ${number}`, text: 'hello', html: '<a href="https://example.com/">hello</a>',
}));
for (const info of await Promise.all(mails)) assert.match(info.response, /^250 2\.0\.0 msg_\w+ queued$/);
await assert.rejects(pool.sendMail({ from: 'x@elsewhere.example', to, subject: 'nodemailer foreign', text: 'x' }), { responseCode: 553 });
await pool.sendMail({
    from, to: 'grå@example.com', subject: 'nodemailer utf8', text: 'hello',
    dsn: { id: 'some id', return: 'headers', notify: ['failure', 'delay'], recipient: from },
});
pool.close();

const implicit = nodemailer.createTransport({
    host, port: process.env.PORT_TLS, secure: true, tls, auth: { user: from, pass: process.env.PASSWORD },
});
await implicit.verify();
await implicit.sendMail({ from, to, subject: 'nodemailer tls', text: 'hello' });
const wrong = nodemailer.createTransport({
    host, port: process.env.PORT_TLS, secure: true, tls, auth: { user: from, pass: 'wrong' },
});
await assert.rejects(wrong.verify(), { code: 'EAUTH', responseCode: 535 });

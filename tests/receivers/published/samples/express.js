const express = require('express');
const crypto = require('crypto');

const app = express();
app.use(express.json());

app.post('/webhooks/mailtura', (req, res) => {
  const signature = req.headers['x-mailtura-signature'];

  // Verify webhook signature
  if (!verifySignature(req.body, signature)) {
    return res.status(401).send('Invalid signature');
  }

  const event = req.body;

  switch (event.type) {
    case 'email.delivered':
      console.log('Email delivered:', event.data.emailId);
      break;
    case 'email.opened':
      console.log('Email opened:', event.data.emailId);
      break;
    case 'email.clicked':
      console.log('Link clicked:', event.data.url);
      break;
    case 'email.bounced':
      console.log('Email bounced:', event.data.reason);
      break;
  }

  res.status(200).send('OK');
});

function verifySignature(payload, signature) {
  const secret = process.env.MAILTURA_WEBHOOK_SECRET;
  const hash = crypto
    .createHmac('sha256', secret)
    .update(JSON.stringify(payload))
    .digest('hex');
  return hash === signature;
}

app.listen(3000);

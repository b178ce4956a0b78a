from flask import Flask, request, jsonify
import hmac
import hashlib
import json

app = Flask(__name__)

@app.route('/webhooks/mailtura', methods=['POST'])
def webhook():
    signature = request.headers.get('X-Mailtura-Signature')

    # Verify webhook signature
    if not verify_signature(request.data, signature):
        return jsonify({'error': 'Invalid signature'}), 401

    event = request.json

    if event['type'] == 'email.delivered':
        print(f"Email delivered: {event['data']['emailId']}")
    elif event['type'] == 'email.opened':
        print(f"Email opened: {event['data']['emailId']}")
    elif event['type'] == 'email.clicked':
        print(f"Link clicked: {event['data']['url']}")
    elif event['type'] == 'email.bounced':
        print(f"Email bounced: {event['data']['reason']}")

    return jsonify({'status': 'success'}), 200

def verify_signature(payload, signature):
    secret = os.environ['MAILTURA_WEBHOOK_SECRET']
    hash_object = hmac.new(
        secret.encode(),
        payload,
        hashlib.sha256
    )
    return hash_object.hexdigest() == signature

if __name__ == '__main__':
    app.run(port=3000)

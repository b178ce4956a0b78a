# The library that Rails' ActionMailer sends with.
require 'mail'

host, from, to = ENV.values_at('HOST', 'FROM', 'TO')

def hand_in(subject, from, to, settings)
  mail = Mail.new(from: from, to: to, subject: "ruby #{subject}", body: "hello\n.\n")
  mail.delivery_method :smtp, settings
  mail.deliver!
end

common = { address: host, domain: 'client.example', ca_file: ENV['CA_FILE'], openssl_verify_mode: 'peer' }
hand_in 'starttls', from, to, common.merge(
  port: ENV['PORT_STARTTLS'].to_i, user_name: 'emailapikey', password: ENV['API_KEY'],
  authentication: :plain, enable_starttls_auto: true
)
hand_in 'tls', from, to, common.merge(
  port: ENV['PORT_TLS'].to_i, user_name: from, password: ENV['PASSWORD'], authentication: :login, tls: true
)

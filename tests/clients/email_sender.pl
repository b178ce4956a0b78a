# Perl's Email::Sender, which raises an exception for every refusal.
use strict;
use warnings;
use Email::Sender::Simple qw(sendmail);
use Email::Sender::Transport::SMTP;
use Email::Simple;

sub send_by {
    my ($subject, %settings) = @_;
    my $mail = Email::Simple->create(
        header => [From => $ENV{FROM}, To => $ENV{TO}, Subject => "perl $subject"],
        body => "hello\n.\n",
    );
    my $transport = Email::Sender::Transport::SMTP->new(
        host => $ENV{HOST}, helo => 'client.example', ssl_options => { SSL_ca_file => $ENV{CA_FILE} }, %settings,
    );
    sendmail($mail, { transport => $transport });
}

send_by('starttls', port => $ENV{PORT_STARTTLS}, ssl => 'starttls',
    sasl_username => 'emailapikey', sasl_password => $ENV{API_KEY});
send_by('tls', port => $ENV{PORT_TLS}, ssl => 'ssl', sasl_username => $ENV{FROM}, sasl_password => $ENV{PASSWORD});

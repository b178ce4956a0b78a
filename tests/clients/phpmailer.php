<?php
// PHPMailer as Debian ships it: STARTTLS with LOGIN, TLS at once, and a session that is kept.
declare(strict_types=1);

require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

function mailer(string $port, string $secure, string $user, string $password): PHPMailer
{
    $mail = new PHPMailer(true);
    $mail->isSMTP();
    $mail->Host = getenv('HOST');
    $mail->Port = (int) getenv($port);
    $mail->SMTPAuth = true;
    $mail->Username = $user;
    $mail->Password = $password;
    $mail->SMTPSecure = $secure;
    $mail->SMTPOptions = ['ssl' => ['cafile' => getenv('CA_FILE')]];
    $mail->SMTPKeepAlive = true;
    $mail->CharSet = PHPMailer::CHARSET_UTF8;
    $mail->setFrom(getenv('FROM'), 'Grüße aus PHP');
    $mail->addAddress(getenv('TO'));
    $mail->isHTML();
    $mail->Body = '<p>Grüße</p>';
    return $mail;
}

$mail = mailer('PORT_STARTTLS', PHPMailer::ENCRYPTION_STARTTLS, 'emailapikey', getenv('API_KEY'));
$mail->AuthType = 'LOGIN';
foreach ([0, 1] as $number) {
    $mail->Subject = "phpmailer starttls $number";
    $mail->send();
}
$mail->smtpClose();
$mail = mailer('PORT_TLS', PHPMailer::ENCRYPTION_SMTPS, getenv('FROM'), getenv('PASSWORD'));
$mail->Subject = 'phpmailer tls';
$mail->send();
$mail->smtpClose();

//! The same things said in many tongues: bounces as one large provider writes them, and absences that no field marks.

use super::*;

#[test]
fn bounces_of_many_tongues_are_known() {
    let check = |subject: &str, failed: &str, why: &str| {
        let mail = format!(
            "From: postmaster@there.example\nTo: news@here.example\nSubject: {subject}\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\n\n{failed}\n\nkim@there.example\n{why}\n"
        );
        check(&mail, "bounce\nkim@there.example failed - user_unknown hard");
    };
    check(
        "Unzustellbar: Hallo",
        "Die Nachricht wurde nicht zugestellt an:",
        "Die Adresse konnte nicht gefunden werden.",
    );
    check("Non remis : Bonjour", "Échec de la remise à ces destinataires :", "L'adresse saisie est introuvable.");
    check("No se puede entregar: Hola", "Error de entrega a:", "No se encontró la dirección de correo.");
    check("Non recapitabile: Ciao", "Recapito non riuscito a:", "Impossibile trovare l'indirizzo immesso.");
    check("Não entregue: Olá", "Falha na entrega a:", "Não foi possível localizar o endereço de email.");
    check(
        "Niet te bezorgen: Hallo",
        "Bezorging aan deze ontvangers is mislukt:",
        "Het adres kan niet worden gevonden.",
    );
    check("Niedostarczone: Witam", "Dostarczenie do adresata nie powiodło się:", "Nie można odnaleźć tego adresu.");
    check("Не удается доставить: Привет", "Сбой доставки получателям:", "Не удалось найти указанный адрес.");
    check("Det går inte att leverera: Hej", "Leveransen till dessa misslyckades:", "Adressen kunde inte hittas.");
    check("Kan ikke leveres: Hej", "Levering til disse mislykkedes:", "Adressen blev ikke fundet.");
    check("Kan ikke leveres: Hei", "Levering til disse mislyktes:", "Finner ikke adressen.");
    check("Ei voi toimittaa: Hei", "Toimitus vastaanottajille epäonnistui:", "Osoitetta ei löytynyt.");
    check("Nedoručitelné: Ahoj", "Doručení příjemcům se nezdařilo:", "Adresu se nepodařilo najít.");
    check("Nedoručiteľné: Ahoj", "Doručenie príjemcom zlyhalo:", "Adresa sa nenašla.");
    check("Kézbesíthetetlen: Üdv", "Az üzenet kézbesítése nem sikerült:", "A megadott cím nem található.");
    check("Teslim edilemedi: Merhaba", "Bu alıcılara teslim edilemedi:", "Girilen posta adresi bulunamadı.");
    check("Δεν παραδόθηκε: Γεια", "Η παράδοση απέτυχε:", "Δεν ήταν δυνατή η εύρεση της διεύθυνσης.");
    check("Nelivrabil: Salut", "Livrarea către aceștia nu a reușit:", "Adresa introdusă nu a fost găsită.");
    check("Не вдалося доставити: Привіт", "Не вдалося доставити повідомлення:", "Адресу не знайдено.");
    check("配信不能: こんにちは", "次の宛先への配信に失敗しました:", "アドレスが見つかりませんでした。");
    check("未送达: 你好", "未能向以下收件人传递邮件:", "找不到您输入的地址。");
    check("배달되지 않음: 안녕", "다음 받는 사람에게 배달하지 못했습니다.", "주소를 찾을 수 없습니다.");
    check("לא ניתן למסירה: שלום", "המסירה לנמענים אלה נכשלה:", "כתובת הדואר שהזנת לא נמצאה.");
    check("تعذر التسليم: مرحبا", "فشل التسليم إلى هؤلاء:", "لم يتم العثور على عنوان البريد.");
}

#[test]
fn absences_of_many_tongues_are_known() {
    let check = |subject: &str, text: &str| {
        let mail = format!(
            "From: Kim <kim@there.example>\nTo: news@here.example\nSubject: {subject}\nIn-Reply-To: <one@here.example>\n\
             MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{text}\n\nKim\n"
        );
        check(&mail, "autoreply");
    };
    check("Re: Hello", "Thank you. I am currently on annual leave and will be back on Monday.");
    check("AW: Hallo", "Ich bin derzeit im Urlaub; diese Mail wird nicht weitergeleitet.");
    check("Absent : Bonjour", "Je répondrai à mon retour.");
    check("Re: Hola", "Estoy de vacaciones hasta el lunes.");
    check("Re: Ciao", "Sono in ferie fino a lunedì.");
    check("Re: Olá", "Estou de férias até segunda-feira.");
    check("Re: Hallo", "Ik ben tot maandag afwezig.");
    check("Sv: Hej", "Jag är på semester till måndag.");
    check("Sv: Hej", "Jeg er på ferie til mandag.");
    check("Poissaoloviesti: Hei", "Palaan maanantaina.");
    check("Re: Witam", "Jestem na urlopie do poniedziałku.");
    check("Re: Ahoj", "Do pondělí mám dovolenou.");
    check("Re: Üdv", "Hétfőig szabadságon vagyok.");
    check("Re: Merhaba", "Pazartesiye kadar izindeyim.");
    check("Re: Привет", "Сейчас в отпуске до понедельника.");
    check("Re: Привіт", "Я у відпустці до понеділка.");
    check("Αυτόματη απάντηση: Γεια", "Επιστρέφω τη Δευτέρα.");
    check("Re: こんにちは", "月曜日まで休暇を頂いております。");
    check("Re: 你好", "我正在休假，周一返回。");
    check("Re: 안녕", "월요일까지 휴가 중입니다.");
    check("תשובה אוטומטית: שלום", "אחזור ביום שני.");
    check("رد تلقائي: مرحبا", "أعود يوم الاثنين.");
}

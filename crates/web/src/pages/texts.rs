//! Every word on the hosted pages, in each language. A struct rather than a table of keys: a text that is missing in one
//! language does not compile. Texts hold no markup; the templates in `templates/` place them.

use quivive_app::letters::Locale;

/// The words of all pages in one language.
#[derive(Debug)]
pub(crate) struct Texts {
    /// The `lang` attribute (BCP 47).
    pub lang: &'static str,
    /// The link that skips to the content.
    pub skip: &'static str,
    /// Stands before the title of a page that shows an error, so that it is heard first.
    pub error_prefix: &'static str,
    /// The label of every e-mail field.
    pub email: &'static str,
    /// The label of every field for a new password.
    pub new_password: &'static str,
    /// The link to the start page.
    pub to_start: &'static str,
    /// The rule for passwords: see [`Texts::password_hint`].
    password_hint: fn(usize) -> String,
    /// `/verify`
    pub verify: Page,
    /// `/verify/done`
    pub verified: Notice,
    /// `/email-change`
    pub email_change: Page,
    /// `/email-change/done`
    pub email_changed: Notice,
    /// `/email-revert`
    pub email_revert: Page,
    /// `/email-revert/done`
    pub email_reverted: Notice,
    /// `reset.html`
    pub reset: Page,
    /// `reset_done.html`
    pub reset_done: Notice,
    /// `forgot.html`
    pub forgot: Page,
    /// `email_sent.html`
    pub email_sent: Notice,
    /// `setup.html`
    pub setup: Page,
    /// `setup_done.html`
    pub setup_done: Notice,
    /// `home.html`
    pub home: Home,
    /// `dev_mail.html`
    pub dev_mail: DevMail,
    /// What can be wrong with a field.
    pub errors: Errors,
    /// What `problem.html` says.
    pub problems: Problems,
}

/// A page with a form.
#[derive(Debug)]
pub(crate) struct Page {
    /// The heading.
    pub title: &'static str,
    /// What this is and what happens next.
    pub intro: &'static str,
    /// The button.
    pub button: &'static str,
}

/// A page that only tells.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The heading.
    pub title: &'static str,
    /// What happened.
    pub body: &'static str,
    /// What to do now.
    pub next: &'static str,
}

/// The start page.
#[derive(Debug)]
pub(crate) struct Home {
    /// The heading.
    pub title: &'static str,
    /// What this server is.
    pub intro: &'static str,
    /// Over the links for people.
    pub people: &'static str,
    /// The link to `/forgot`.
    pub forgot: &'static str,
    /// Over the links for programmers.
    pub programmers: &'static str,
    /// The link to `/api/docs`.
    pub docs: &'static str,
}

/// The mailbox of the development mode.
#[derive(Debug)]
pub(crate) struct DevMail {
    /// The heading.
    pub title: &'static str,
    /// What this is.
    pub intro: &'static str,
    /// Instead of letters.
    pub empty: &'static str,
    /// Label of the receiver.
    pub to: &'static str,
    /// Label of the template's code.
    pub template: &'static str,
    /// Label of the time.
    pub sent: &'static str,
}

/// What can be wrong with a field, and what to do about it.
#[derive(Debug)]
pub(crate) struct Errors {
    /// Not an e-mail address.
    pub invalid_email: &'static str,
    /// Too short, too long, or too easy to guess.
    pub weak_password: &'static str,
    /// One of the last passwords.
    pub password_reused: &'static str,
}

/// What `problem.html` says.
#[derive(Debug)]
pub(crate) struct Problems {
    /// A link or its token that is used, too old, replaced or wrong. One text for all, as in the API.
    pub link: Problem,
    /// No page at this address.
    pub not_found: Problem,
    /// A form that was not sent from one of our pages, or is not complete.
    pub bad_request: Problem,
    /// A rate limit.
    pub too_many: Problem,
    /// The server has too much to do, or stops.
    pub busy: Problem,
    /// What reacts in the commit refused.
    pub vetoed: Problem,
    /// A fault of ours.
    pub internal: Problem,
    /// The first administrator exists already.
    pub setup_closed: Problem,
    /// There is no administrator, but this is not the link, or not any more.
    pub setup_link: Problem,
}

/// A title and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The heading.
    pub title: &'static str,
    /// What to do.
    pub detail: &'static str,
}

impl Texts {
    /// The words of a language.
    pub(crate) fn of(locale: Locale) -> &'static Texts {
        match locale {
            Locale::En => &EN,
            Locale::Pt => &PT,
        }
    }

    /// The rule for a new password of at least `chars_min` characters.
    pub(crate) fn password_hint(&self, chars_min: usize) -> String {
        (self.password_hint)(chars_min)
    }
}

static EN: Texts = Texts {
    lang: "en",
    skip: "Skip to content",
    error_prefix: "Error",
    email: "E-mail address",
    new_password: "New password",
    to_start: "Back to the start page",
    password_hint: |chars_min| {
        format!(
            "At least {chars_min} characters. A few words that only you would put together work well; spaces are fine."
        )
    },
    verify: Page {
        title: "Confirm your address",
        intro: "One more click: press the button to show that this e-mail address is yours.",
        button: "Confirm my address",
    },
    verified: Notice {
        title: "Your address is confirmed",
        body: "Thank you. Your account is ready.",
        next: "You can close this page and sign in.",
    },
    email_change: Page {
        title: "Confirm your new address",
        intro: "Press the button to show that this e-mail address is yours. From then on you sign in with it, and every device that is signed in to your account is signed out.",
        button: "Confirm my new address",
    },
    email_changed: Notice {
        title: "Your address was changed",
        body: "Your account goes by the new address now. We told the old one, too.",
        next: "You can close this page and sign in with the new address.",
    },
    email_revert: Page {
        title: "Take the change back",
        intro: "Press the button, and your account goes by this e-mail address again. Every device that is signed in to it is signed out.",
        button: "Take it back",
    },
    email_reverted: Notice {
        title: "The change was taken back",
        body: "Your account goes by this address again, and every device was signed out.",
        next: "Whoever changed it may know your password. Choose a new one now: go to the start page, and then to “Forgotten password”.",
    },
    reset: Page {
        title: "Choose a new password",
        intro: "When you save it, every device that is signed in to your account is signed out.",
        button: "Save the new password",
    },
    reset_done: Notice {
        title: "Your password was changed",
        body: "Every device was signed out, and we sent you an e-mail about the change.",
        next: "You can close this page and sign in with the new password.",
    },
    forgot: Page {
        title: "Forgotten password",
        intro: "Tell us the e-mail address of your account. We send you a link with which you choose a new password.",
        button: "Send me a link",
    },
    email_sent: Notice {
        title: "Look into your mailbox",
        body: "If there is an account with this address, an e-mail with a link is on its way. The link works once and not for long.",
        next: "Nothing there after a few minutes? Look among the unwanted mail, or check the address and ask again.",
    },
    setup: Page {
        title: "Create the first administrator",
        intro: "This server has no administrator yet. The account that you create here can do everything; the link that brought you here works once.",
        button: "Create the administrator",
    },
    setup_done: Notice {
        title: "The administrator is ready",
        body: "The account was created and can sign in at once. The setup link does not work any more.",
        next: "Keep the password in a safe place: it is not shown again and nobody else can see it.",
    },
    home: Home {
        title: "Identity server",
        intro: "This server keeps the accounts of one or more applications: who people are, how they sign in, and what happened when.",
        people: "Your account",
        forgot: "I forgot my password",
        programmers: "For programmers",
        docs: "API and documentation",
    },
    dev_mail: DevMail {
        title: "Mailbox",
        intro: "Development mode sends no e-mail. What would be sent is kept here, in memory, newest first.",
        empty: "No e-mail yet. Register an account or ask for a new password, then load this page again.",
        to: "To",
        template: "Template",
        sent: "Sent",
    },
    errors: Errors {
        invalid_email: "This is not an e-mail address. It should look like name@example.org.",
        weak_password: "This password is too short or too easy to guess. Add a word or two, and use neither your address nor a well-known password.",
        password_reused: "You had this password before. Choose one that is new.",
    },
    problems: Problems {
        link: Problem {
            title: "This link does not work",
            detail: "It was used already, is too old, or was replaced by a newer one. Ask for a new link, and open the one in the latest e-mail.",
        },
        not_found: Problem {
            title: "There is no such page",
            detail: "Check the address, or begin at the start page.",
        },
        bad_request: Problem {
            title: "This form could not be read",
            detail: "Go back, load the page again and send the form once more.",
        },
        too_many: Problem {
            title: "Too many attempts",
            detail: "Wait a minute, then try again.",
        },
        busy: Problem {
            title: "The server is busy",
            detail: "Nothing was changed. Wait a moment, then try again.",
        },
        vetoed: Problem {
            title: "This is not permitted here",
            detail: "A rule of this server is against it, and nothing was changed. Ask the people who run it.",
        },
        internal: Problem {
            title: "Something went wrong",
            detail: "That is our fault, not yours. Try again later; if it stays so, tell the people who run this server the number below.",
        },
        setup_closed: Problem {
            title: "There is an administrator already",
            detail: "The setup page serves once. Sign in as the administrator, or create one with the command: quivive admin create",
        },
        setup_link: Problem {
            title: "This link does not work",
            detail: "It serves for 30 minutes after the server was started. Start the server again and open the link that it shows, or use the command: quivive admin create",
        },
    },
};

static PT: Texts = Texts {
    lang: "pt-BR",
    skip: "Ir para o conteúdo",
    error_prefix: "Erro",
    email: "Endereço de e-mail",
    new_password: "Nova senha",
    to_start: "Voltar à página inicial",
    password_hint: |chars_min| {
        format!(
            "Pelo menos {chars_min} caracteres. Algumas palavras que só você juntaria funcionam bem; espaços são permitidos."
        )
    },
    verify: Page {
        title: "Confirme seu endereço",
        intro: "Só mais um clique: aperte o botão para mostrar que este endereço de e-mail é seu.",
        button: "Confirmar meu endereço",
    },
    verified: Notice {
        title: "Seu endereço está confirmado",
        body: "Agradecemos. Sua conta está pronta.",
        next: "Você pode fechar esta página e entrar.",
    },
    email_change: Page {
        title: "Confirme seu novo endereço",
        intro: "Aperte o botão para mostrar que este endereço de e-mail é seu. A partir daí você entra com ele, e todos os dispositivos conectados à sua conta são desconectados.",
        button: "Confirmar meu novo endereço",
    },
    email_changed: Notice {
        title: "Seu endereço foi alterado",
        body: "Sua conta agora usa o novo endereço. Avisamos também o antigo.",
        next: "Você pode fechar esta página e entrar com o novo endereço.",
    },
    email_revert: Page {
        title: "Desfazer a alteração",
        intro: "Aperte o botão, e sua conta volta a usar este endereço de e-mail. Todos os dispositivos conectados a ela são desconectados.",
        button: "Desfazer",
    },
    email_reverted: Notice {
        title: "A alteração foi desfeita",
        body: "Sua conta voltou a usar este endereço, e todos os dispositivos foram desconectados.",
        next: "Quem a alterou talvez saiba sua senha. Escolha uma nova agora: vá à página inicial e depois a “Esqueci a senha”.",
    },
    reset: Page {
        title: "Escolha uma nova senha",
        intro: "Ao salvá-la, todos os dispositivos conectados à sua conta são desconectados.",
        button: "Salvar a nova senha",
    },
    reset_done: Notice {
        title: "Sua senha foi alterada",
        body: "Todos os dispositivos foram desconectados, e enviamos a você um e-mail sobre a mudança.",
        next: "Você pode fechar esta página e entrar com a nova senha.",
    },
    forgot: Page {
        title: "Esqueci a senha",
        intro: "Informe o endereço de e-mail da sua conta. Enviamos um link com o qual você escolhe uma nova senha.",
        button: "Enviar o link",
    },
    email_sent: Notice {
        title: "Veja sua caixa de entrada",
        body: "Se existe uma conta com este endereço, um e-mail com um link está a caminho. O link funciona uma única vez e por pouco tempo.",
        next: "Não chegou nada depois de alguns minutos? Procure no lixo eletrônico, ou confira o endereço e peça de novo.",
    },
    setup: Page {
        title: "Crie a primeira conta de administração",
        intro: "Este servidor ainda não tem administração. A conta que você cria aqui pode fazer tudo; o link que trouxe você até aqui funciona uma única vez.",
        button: "Criar a conta",
    },
    setup_done: Notice {
        title: "A conta de administração está pronta",
        body: "A conta foi criada e já pode entrar. O link de configuração não funciona mais.",
        next: "Guarde a senha em lugar seguro: ela não é mostrada de novo e ninguém mais pode vê-la.",
    },
    home: Home {
        title: "Servidor de identidade",
        intro: "Este servidor guarda as contas de um ou mais aplicativos: quem são as pessoas, como elas entram e o que aconteceu e quando.",
        people: "Sua conta",
        forgot: "Esqueci minha senha",
        programmers: "Para quem programa",
        docs: "API e documentação",
    },
    dev_mail: DevMail {
        title: "Caixa de e-mails",
        intro: "O modo de desenvolvimento não envia e-mails. O que seria enviado fica aqui, na memória, do mais novo ao mais antigo.",
        empty: "Nenhum e-mail ainda. Registre uma conta ou peça uma nova senha e carregue esta página de novo.",
        to: "Para",
        template: "Modelo",
        sent: "Enviado",
    },
    errors: Errors {
        invalid_email: "Isto não é um endereço de e-mail. Ele deve ser como nome@example.org.",
        weak_password: "Esta senha é curta demais ou fácil de adivinhar. Acrescente uma ou duas palavras e não use seu endereço nem uma senha conhecida.",
        password_reused: "Você já teve esta senha. Escolha uma que seja nova.",
    },
    problems: Problems {
        link: Problem {
            title: "Este link não funciona",
            detail: "Ele já foi usado, é antigo demais ou foi substituído por um mais novo. Peça um novo link e abra o do e-mail mais recente.",
        },
        not_found: Problem {
            title: "Esta página não existe",
            detail: "Confira o endereço ou comece pela página inicial.",
        },
        bad_request: Problem {
            title: "Não foi possível ler este formulário",
            detail: "Volte, carregue a página de novo e envie o formulário outra vez.",
        },
        too_many: Problem {
            title: "Tentativas demais",
            detail: "Espere um minuto e tente de novo.",
        },
        busy: Problem {
            title: "O servidor está ocupado",
            detail: "Nada foi alterado. Espere um momento e tente de novo.",
        },
        vetoed: Problem {
            title: "Isto não é permitido aqui",
            detail: "Uma regra deste servidor não o permite, e nada foi alterado. Fale com quem o administra.",
        },
        internal: Problem {
            title: "Algo deu errado",
            detail: "A falha é nossa, não sua. Tente mais tarde; se continuar assim, informe o número abaixo a quem administra este servidor.",
        },
        setup_closed: Problem {
            title: "Já existe uma conta de administração",
            detail: "A página de configuração serve uma única vez. Entre com a conta de administração ou crie uma com o comando: quivive admin create",
        },
        setup_link: Problem {
            title: "Este link não funciona",
            detail: "Ele vale por 30 minutos depois que o servidor é iniciado. Inicie o servidor de novo e abra o link que ele mostra, ou use o comando: quivive admin create",
        },
    },
};

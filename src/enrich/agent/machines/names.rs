//! The words and names by which machines are known. Data only; see `machines` for how each list is read.
//!
//! Everything is in lower case. A word earns its place by being used by machines and by no browser, mail client or
//! device; what is a common word or part of a device's name stands in [`PROGRAMS`] (asked only in front or before
//! `/`), in [`ENDINGS`] (asked only at the end of a word) or in [`TRADES`] (asked only where nothing else is known).

/// Whoever looks at links for somebody's safety, or for a hole.
#[rustfmt::skip]
pub(super) const SCANNERS: &[&str] = &[
    "acunetix", "anti-spam", "antispam", "antivirus", "appriver", "arachni", "area1security", "assetnote", "avanan",
    "barracuda", "binaryedge", "bitdefender", "bitsight", "burp suite", "burpcollaborator", "censys", "checkpoint",
    "cisco email", "cisco secure", "cisco-secure", "clamav", "clearswift", "cloudmark", "cofense", "criminalip",
    "crowdstrike", "cyren", "defender", "detectify", "detonat", "dirbuster", "email gateway", "email security",
    "email-gateway", "email-security", "emailsecurity", "emeraldshield", "expanse", "feroxbuster", "fireeye",
    "forcepoint", "foregenix", "fortiguard", "fortimail", "fortinet", "fuzz faster", "gobuster", "greathorn",
    "hornetsecurity", "hybrid-analysis", "internetmeasurement", "ironport", "ironscales", "jndi:", "kaspersky",
    "knowbe4", "l9explore", "l9tcpid", "leakix", "libraesva", "lightspeedsystems", "link protect", "linkprotect",
    "mail gateway", "mail-gateway", "mailcleaner", "mailgateway", "mailguard", "mailmarshal", "malware", "masscan",
    "messagelabs", "mimecast", "muhstik", "nessus", "netcraft", "netsystemsresearch", "nikto", "nmap", "nospamproxy",
    "nuclei", "onyphe", "openvas", "owasp", "palo alto", "paloalto", "pentest", "perception point", "perceptionpoint",
    "phish", "probely", "proofpoint", "qualys", "quttera", "rapid7", "rspamd", "safebrowsing", "safelinks", "sandbox",
    "securitytrails", "sentinelone", "shodan", "slashnext", "sophos", "spamassassin", "spamexperts", "spamtitan",
    "sqlmap", "stretchoid", "sucuri", "symantec", "tenable", "tessian", "threat", "time-of-click", "trellix",
    "trend micro", "trendmicro", "trustwave", "twinwave", "url filter", "urldefense", "urlfilter", "urlscan",
    "vade-retro", "vadesecure", "virustotal", "w3af", "webinspector", "wfuzz", "wpscan", "xpanse",
    "zaproxy", "zgrab", "zixcorp", "zmap", "zmeu", "zscaler",
];

/// Whoever asks whether links still work.
#[rustfmt::skip]
pub(super) const CHECKERS: &[&str] = &[
    "broken link", "brokenlink", "check link", "checklink", "dead link", "deadlink", "link check", "link sleuth",
    "link-check", "linkcheck", "linkdex", "linklint", "linkvalid", "linkwalker", "office existence discovery",
    "office protocol discovery", "url check", "urlcheck",
];

/// Words that no browser and no mail client uses, wherever they stand.
#[rustfmt::skip]
pub(super) const WORDS: &[&str] = &[
    // What they do.
    "crawl", "spider", "slurp", "scrap", "archiv", "fetcher", "harvest", "robot", "siphon", "aggregator", "unfurl",
    "favicon", "sitemap", "preview", "screenshot", "screen shot", "thumb", "snippet", "opengraph", "transcoder",
    "validator", "verifier", "verification", "monitor", "monitis", "uptime", "watchdog", "watchmouse", "heartbeat",
    "health-check", "healthcheck", "health check", "keepalive", "kube-probe", "survey", "audit", "workflow",
    "subscriber", "link expand", "linkexpand", "image proxy", "imageproxy", "imgproxy", "prefetch proxy",
    "web-sniffer", "plagiar", "copyright", "seo-", "-seo", "research", "telemetry", "benchmark", "pinger",
    // Browsers without a reader.
    "headless", "phantomjs", "puppeteer", "playwright", "selenium", "webdriver", "slimerjs", "htmlunit", "httpunit",
    "wkhtmlto", "webkit2png", "rmsnapkit", "splash", "synthetic", "lighthouse", "pagespeed", "page speed", "gtmetrix",
    "catchpoint", "pingdom", "statuscake", "site24x7", "newrelic", "datadog", "dotcom-monitor", "thousandeyes",
    "dynatrace", "ruxit", "uptrends", "freshping", "hetrix", "webpagetest", "ptst/", "sitespeed", "speedcurve",
    "browserstack", "browserspy", "keynote", "gomez", "alertsite", "rigor", "calibreapp", "nodeping", "checkly",
    // Libraries, wherever they stand.
    "libwww", "lwp::", "urllib", "httpclient", "http client", "http_client", "http-client", "httplib", "httrack",
    "python-", "perl/", "guzzle", "mechanize", "indy library", "url control", "microsoft bits", "winhttprequest",
    "xmlrpc", "zend_http", "wordpress", "drupal", "joomla", "fake_useragent", "webzip", "webcopier", "webreaper",
    "webstripper", "webcapture", "teleport", "offline explorer", "msiecrawler", "download demon", "heritrix", "nutch",
    "ia_archiver", "grub-client", "asproxy", "simplepie", "magpierss", "feedparse", "feed parser", "pubsub",
    // Who they are.
    "appengine", "adsbot", "mediapartners", "googleother", "google-", "google web", "google page", "googleweblight",
    "google search console", "googleassociation", "googleadwords", "apis-google", "bingpreview", "msnbot", "ahrefs",
    "semrush", "majestic", "sistrix", "serpstat", "seokicks", "screaming frog", "siteimprove", "builtwith",
    "wappalyzer", "whatweb", "similarweb", "comscore", "criteo", "grapeshot", "doubleverify", "proximic", "peer39",
    "adbeat", "adsense", "adwords", "facebookexternal", "facebookcatalog", "externalhit", "externalagent",
    "webindexer", "skypeuri", "whatsapp/", "viber/", "captain-hook", "hookshot", "cloudfront", "snap url", "vkshare",
    "embedly", "iframely", "onebox", "kakaotalk-scrap", "mixi-check", "mastodon", "friendica", "fediverse",
    "gotosocial", "pleroma", "misskey", "activitypub", "lemmy/", "hootsuite", "sprinklr", "brandwatch", "meltwater",
    "talkwalker", "radian6", "zapier", "ifttt", "logic-apps", "hubspot", "mailchimp", "sendgrid", "braze sender",
    "klaviyo", "mailgun", "onetrust", "cookiebot", "scope3", "pageburst", "rivaliq", "microad", "tineye", "diffbot",
    "anthropic", "claude-", "chatgpt", "openai", "perplexity", "cohere-", "firecrawl", "img2dataset", "yacy", "teoma",
    "ask jeeves", "cloudflare", "cortex", "panscient", "ltx71", "page2rss", "wechatdevtools", "yahooseeker",
    "feedseeker", "y!j-",
    // Readers of feeds.
    "rss feed", "rss-platform", "freshrss", "openrss", "feedfetch", "feedbin", "feedly", "feedwrangler", "feeder.co",
    "feeddemon", "akregator", "newsbeuter", "newsboat", "newsblur", "newsgator", "netnewswire", "netvibes",
    "miniflux", "inoreader", "oldreader", "bazqux", "bloglines", "bloglovin", "podcast",
    // Servers that look after servers.
    "nagios", "zabbix", "icinga", "check_http", "prometheus", "blackbox", "haproxy", "elb-health",
    // Forms that nobody filled in, and attempts to break in.
    "{version}", "w.x.y.z", "$version", "${", "() {", "<class", "user-agent:", "user_agent", "compatible; linux",
    "dummy connection",
];

/// Words that mark a machine where a word ends: `Examplebot/2.0`, but no device called `IDbot553`.
pub(super) const ENDINGS: &[&str] = &["bot", "bots", "scan", "scanner", "scanning", "scans", "daemon", "probe"];

/// Programs and libraries that fetch, in front or as `name/`.
#[rustfmt::skip]
pub(super) const PROGRAMS: &[&str] = &[
    ".net runtime", "ab", "aboundex", "admantx", "ahc", "aiohttp", "akka-http", "amaya", "apache-cxf", "apachebench", "aria2",
    "axios", "bitly", "boto3", "bubing", "bun", "cadaver", "cakephp", "cfschedule", "changedetection", "clj-http",
    "colly", "cpr", "curl", "dart", "datanyze", "davclnt", "deno", "discourse", "echoping", "electron-fetch",
    "elinks", "elixir", "embed", "evc-batch", "ezooms", "faraday", "fasthttp", "feign", "ffuf", "flipboard",
    "github-camo", "gitlab-runner", "go", "go-httpclient", "go-resty", "golang", "googlehc", "goose", "got", "grpc-c",
    "grpc-go", "grpc-java", "grpc-node", "grpc-python", "grpc-ruby", "guzzlehttp", "gvfs", "hackney", "hatena",
    "http.rb", "httparty", "httpie", "httpx", "hydra", "hyper", "ichiro", "igetter", "insomnia", "isitup", "jakarta",
    "java", "java1", "jersey", "jetty", "jigsaw", "jmeter", "jsdom", "k6", "kraken", "larbin", "lavf", "lftp",
    "libcurl", "libfetch", "libmpv", "locust", "lua-resty-http", "lwp", "mediawiki", "microsoft ncsi",
    "microsoft-cryptoapi", "microsoft-webdav-miniredir", "mixnode", "mojolicious", "msfrontpage", "needle", "netty",
    "newspaper", "nginx", "nginx-ssl", "node", "node-fetch", "node.js", "nodejs", "okhttp", "pandalytics", "perl",
    "php", "phpbb", "pinterest", "plukkit", "pompos", "postman", "postmanruntime", "powershell", "pycurl", "python",
    "qwantify", "rclone", "reactor-netty", "readkit", "reqwest", "rest client", "rest-client", "restsharp",
    "retrofit", "ruby", "sabredav", "sentry", "shopwiki", "siege", "snoopy", "spotify", "superagent", "swagger",
    "swagger-validator", "swcd", "symfony", "thumbor", "twingly", "twitterbot", "typhoeus", "undici", "unirest",
    "ureq", "uri client", "vagabondo", "varnish", "vegeta", "vert.x", "viber", "webclient", "wget", "wget2",
    "windowspowershell", "winhttp", "wink client", "wotbox", "wrk", "x-cart", "xh", "yourls", "zao", "zyborg",
];

/// Trades of machines; looked for only in what has not the form of a browser and names no mail client.
#[rustfmt::skip]
pub(super) const TRADES: &[&str] = &[
    "-http", "agent", "analys", "analyz", "api", "bench", "blog", "cache", "check", "collector", "cron", "daemon",
    "detector", "discovery", "download", "engine", "expander", "exractor", "extract", "feed", "grab", "health", "http-",
    "http/", "http_", "httpd", "image", "index", "inspect", "integration", "library", "link", "network", "news",
    "observatory", "parser", "ping", "plugin", "proxy", "recon-", "relay", "resolver", "robo", "rss", "runner",
    "schedul", "sdk", "search", "seeker", "sender", "server", "service", "site", "sniff", "statistics", "sync", "test",
    "tools", "track", "upload", "webdav", "webhook", "wolf", "worker",
];

// Koala in the browser: the visitor (the ko_id cookie, shared with the server), page views and events.
// Loaded from {host}/v1/{key}/sdk.js, from which it takes both. Calls made earlier wait in the list `window.ko`.
(function () {
  "use strict";
  const early = window.ko || [];
  if (early.loaded) return;
  const settings = window.koalaSettings || {};
  const source = /^(.*)\/v1\/([^/]+)\/sdk\.js/.exec((document.currentScript || {}).src) || [];
  const key = settings.publicApiKey || decodeURIComponent(source[2] || "");
  const project = `${(settings.host || source[1] || "").replace(/\/+$/, "")}/web/projects/${encodeURIComponent(key)}`;
  const silent = settings.honorGpc && navigator.globalPrivacyControl;

  const MOST_ENTRIES = 30; // of each kind, in one request
  const GATHER_MS = 250; // entries this close together share a request
  const LONGEST_WAIT_MS = 60000; // between two attempts
  const BOOTSTRAP_MS = 3000; // `ready` does not wait longer
  const IDLE_MS = 30000; // a page is in use for so long after the last key, click or scroll
  const KEEPALIVE_BYTES = 60000; // browsers cancel larger requests when the page goes

  // ---- the visitor's id: in a cookie for the whole site, and in this origin's localStorage

  // A UUID, but not the nil or the max UUID.
  const isId = (text) => /^(?![0-]+$|[f-]+$)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);

  function uuid() {
    if (crypto.randomUUID) return crypto.randomUUID(); // https only
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  // Cookies and storage throw where settings or a sandbox forbid them.
  function allowed(use) {
    try {
      return use();
    } catch {}
  }

  function stored(storage, name, value) {
    if (value) allowed(() => window[storage].setItem(name, value));
    return allowed(() => window[storage].getItem(name));
  }

  function cookie(name, accepts) {
    const all = allowed(() => document.cookie) || "";
    const pairs = all.split(";").map((pair) => pair.trim().split("="));
    return (pairs.find((pair) => pair[0] === name && accepts(pair[1])) || [])[1];
  }

  function setCookie(name, value, domain, days) {
    const scope = `Path=/; SameSite=Lax; Max-Age=${days * 86400}` + (domain && `; Domain=${domain}`);
    allowed(() => (document.cookie = `${name}=${value}; ${scope}`));
  }

  // The widest domain this page may set a cookie for; "" for IP addresses and single-label hosts.
  function cookieDomain() {
    const labels = location.hostname.split(".");
    if (/^\d*$|:/.test(labels[labels.length - 1])) return "";
    for (let count = 2; count <= labels.length; count++) {
      const domain = labels.slice(-count).join(".");
      setCookie("ko_probe", "1", domain, 1);
      const taken = cookie("ko_probe", Boolean);
      setCookie("ko_probe", "", domain, 0);
      if (taken) return domain;
    }
    return "";
  }

  // The cookie wins: a logout on the server or on a sister site changes only the cookie, and this origin's copy would
  // give the next visitor the last one's history. The copy is used when the cookie is gone.
  let unstored;
  function profileId() {
    const remembered = stored("localStorage", "ko_id") || unstored;
    return adopt(cookie("ko_id", isId) || (isId(remembered) ? remembered : uuid()));
  }

  function adopt(id) {
    // An equal cookie is not set again: browsers may keep a server's cookie longer than a script's.
    if (cookie("ko_id", isId) !== id) {
      const domain = cookieDomain();
      if (domain) setCookie("ko_id", "", "", 0); // a host-only cookie would be found first
      setCookie("ko_id", id, domain, 365);
    }
    stored("localStorage", "ko_id", id);
    return (unstored = id);
  }

  // ---- sending: batches of one person each, in order; the first is retried until it is answered

  const outbox = [];
  let sending, timer, wait;

  function add(kind, entry, email) {
    const id = profileId();
    // Copied as JSON now: what cannot be sent fails at the call, and later changes have no effect.
    const json = JSON.stringify({ message_id: uuid(), sent_at: new Date(), ...entry });
    // Half an emoji, where a text was cut, is not valid in JSON.
    entry = JSON.parse(json.replace(/\\(ud[89a-f]..|.)/g, (text) => (text[2] ? "\ufffd" : text)));
    let batch = outbox[outbox.length - 1];
    const another = (of) => of === sending || of.profile_id !== id || (email && of.email && of.email !== email);
    if (!batch || another(batch) || batch[kind].length === MOST_ENTRIES) {
      outbox.push((batch = { profile_id: id, identifies: [], events: [], page_views: [] }));
    }
    if (email) batch.email = email;
    batch[kind].push(entry);
    timer = timer || setTimeout(send, GATHER_MS);
    return entry;
  }

  const post = (path, body) =>
    // As text, since JSON would need a preflight.
    fetch(project + path, { method: "POST", body, credentials: "omit", keepalive: body.length < KEEPALIVE_BYTES });

  async function send() {
    clearTimeout(timer);
    timer = 0;
    if (sending || !outbox.length) return;
    sending = outbox[0];
    let again = true;
    try {
      const { status } = await post("/batch", JSON.stringify(sending));
      again = status >= 500 || [408, 425, 429].includes(status);
      if (status >= 400 && !again) console.warn(`koala: ${project} refused a batch with status ${status}`);
    } catch {} // no network: retry
    if (!again) outbox.shift();
    sending = null;
    wait = again ? Math.min((wait || 500) * 2, LONGEST_WAIT_MS) : 0;
    if (outbox.length) timer = timer || setTimeout(send, wait * (0.5 + Math.random() / 2));
  }

  // The page is being left, so there is no time for an answer.
  function leave() {
    const kept = outbox.filter(
      (batch) => batch === sending || !navigator.sendBeacon(project + "/batch", JSON.stringify(batch)),
    );
    outbox.splice(0, outbox.length, ...kept);
  }

  // ---- the public calls

  let shown;
  let referrer = document.referrer;

  function pageNow() {
    const { pathname: path, href: url, host } = location;
    const utm = {};
    new URLSearchParams(location.search).forEach((value, name) => {
      if (name.startsWith("utm_")) utm[name.slice(4)] = value;
    });
    return { path, url, host, referrer, title: document.title, utm };
  }

  const context = () => ({ page: pageNow(), locale: navigator.language, library: { name: "koala_middleware/sdk.js" } });
  const named = (email, traits) => (email && typeof email === "object" ? [email.email, email] : [email, traits]);

  // What this tab has sent about the person already is not sent again.
  function isNews(id, email, traits) {
    const last = allowed(() => JSON.parse(stored("sessionStorage", "ko_said"))) || {};
    const said = last.id === id && (!email || last.email === email) ? last : { id };
    const all = JSON.stringify({ id, email: email || said.email, traits: { ...said.traits, ...traits } });
    if (all === JSON.stringify(last)) return false;
    stored("sessionStorage", "ko_said", all);
    return true;
  }

  const calls = {
    identify(...given) {
      const [email, traits] = named(...given);
      if (!isNews(profileId(), email, traits)) return;
      add("identifies", { type: "identify", traits: { ...traits, email } }, email);
    },

    track(event, properties) {
      add("events", { type: "track", event: String(event), properties: { ...properties }, context: context() });
    },

    page(properties) {
      endVisit();
      const page = { ...pageNow(), ...properties };
      visit = add("page_views", { page, visit_start: new Date(), context: context() });
      visitor = profileId();
      intervals = [];
      used();
    },

    // On logout: what follows belongs to a new visitor.
    reset() {
      stored("sessionStorage", "ko_said", "{}");
      adopt(uuid());
    },

    // Resolves to {profile_id, q, a}: what is known about the visitor.
    qualify(...given) {
      const [email, traits] = named(...given);
      const body = { profile_id: profileId(), email, traits, referrer };
      return post("/profiles", JSON.stringify(body)).then((answer) => answer.json());
    },

    ready(callback) {
      return started.then(() => (callback && callback(window.ko), window.ko));
    },
  };

  // ---- time on a page: the page view is sent again, under its message id, with the times at which it was in use

  let visit, visitor;
  let intervals = [];

  // In use: visible, and not long since the visitor did something.
  function used() {
    if (document.hidden) return;
    const now = Date.now();
    const last = intervals[intervals.length - 1];
    if (last && now <= last[1]) last[1] = now + IDLE_MS;
    else intervals.push([now, now + IDLE_MS]);
  }

  function endVisit() {
    if (!visit || visitor !== profileId()) return;
    const now = Date.now();
    const focus = intervals.map(([start, end]) => [start, Math.min(end, now)]).filter(([start, end]) => end > start);
    if (!focus.length) return;
    const end = { visit_end: new Date(now).toISOString(), focus_intervals: focus };
    const waits = outbox.some((batch) => batch !== sending && batch.page_views.includes(visit));
    if (waits) Object.assign(visit, end);
    else visit = add("page_views", { ...visit, ...end });
    intervals[intervals.length - 1][1] = now;
  }

  // ---- forms, where the page switches them on: the names of their fields and the email, no other value

  function submitted({ target: form }) {
    const fields = [...form.elements].filter((field) => field.name && field.type !== "hidden");
    const email = fields.find((field) => field.type === "email" && field.value);
    calls.track("Form Submitted", {
      form: form.id || form.getAttribute("name") || undefined,
      fields: fields.map((field) => field.name),
      email: email && email.value,
    });
  }

  // ---- automatic page views

  function viewed() {
    if (location.href === shown) return;
    referrer = shown || referrer;
    if (shown) setTimeout(calls.page); // the new title is set right after the new address
    else calls.page();
    shown = location.href;
  }

  async function bootstrap() {
    const asked = profileId();
    try {
      const signal = AbortSignal.timeout(BOOTSTRAP_MS);
      const answer = await fetch(`${project}?profile_id=${asked}`, { credentials: "omit", signal });
      const { profile_id: id } = await answer.json();
      if (isId(id) && profileId() === asked) adopt(id); // unless a logout came between
    } catch {} // works without it
  }

  async function start() {
    // A prerendered page has not been seen yet.
    if (document.prerendering) await new Promise((seen) => document.addEventListener("prerenderingchange", seen));
    for (const type of ["keydown", "pointerdown", "pointermove", "scroll"]) {
      addEventListener(type, used, { capture: true, passive: true });
    }
    if (settings.forms) addEventListener("submit", (event) => allowed(() => submitted(event)), true);
    addEventListener("pagehide", () => (allowed(endVisit), leave()));
    addEventListener("pageshow", (event) => event.persisted && calls.page());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) return used();
      allowed(endVisit);
      send();
    });
    (window.navigation || window).addEventListener(window.navigation ? "currententrychange" : "popstate", viewed);
    viewed();
    await bootstrap();
  }

  const ko = (window.ko = { loaded: true });
  Object.defineProperty(ko, "profile_id", { get: () => (silent ? null : profileId()) });
  ko.user = { id: () => ko.profile_id };
  // Calls that only the early list has do nothing.
  for (const name of Object.keys({ ...calls, ...early }).filter(isNaN)) {
    ko[name] = (...given) => {
      try {
        return ((!silent || name === "ready") && calls[name] && calls[name](...given)) || ko;
      } catch (error) {
        console.warn(`koala: ${name} was not sent:`, error); // a call never breaks the page
        return ko;
      }
    };
  }
  const started = silent ? Promise.resolve() : start();
  for (const [name, ...given] of Array.from(early)) if (ko[name]) ko[name](...given);
})();

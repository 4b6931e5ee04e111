// The page works without this script. With it, the panels follow what other tabs do, times are the
// reader's own, and the slow request can be watched.

const byId = (id) => document.getElementById(id);
const seconds = Number(byId("together").dataset.seconds);
let busy = false;

// Panels: the server renders them, and the page puts them in the place of the old ones.

async function refresh() {
  const response = await fetch("/panels", { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const panel of fresh.querySelectorAll("[data-live]")) {
    const old = byId(panel.id);
    if (panel.id === "report" && busy) continue;
    // As it was made by the server; the times on the page have been rewritten since.
    if (old.made !== panel.innerHTML) {
      old.made = panel.innerHTML;
      old.innerHTML = panel.innerHTML;
    }
  }
  // A login or logout in another tab has changed the token of this tab's forms, too.
  const { token } = fresh.getElementById("token").dataset;
  for (const field of document.getElementsByName("csrf_token")) field.value = token;
  showTimes();
}

// Times

function remaining(total) {
  if (total <= 0) return "Over";
  const days = Math.floor(total / 86400);
  const hours = Math.floor((total % 86400) / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const two = (number) => String(number).padStart(2, "0");
  if (days) return `${days} d ${hours} h`;
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(Math.floor(total % 60))}`;
}

function showTimes() {
  for (const time of document.querySelectorAll("time[data-local]")) {
    const then = new Date(time.dataset.local * 1000);
    const today = Math.abs(then - Date.now()) < 43200e3;
    time.dateTime = then.toISOString();
    time.textContent = today ? then.toLocaleTimeString() : then.toLocaleString();
  }
  const countdown = byId("countdown");
  if (countdown) countdown.textContent = remaining(countdown.dataset.expires - Date.now() / 1000);
}

// Two requests at once

function report(bold, text) {
  const paragraph = document.createElement("p");
  const strong = document.createElement("b");
  strong.textContent = bold;
  paragraph.append(strong, ` ${text}`);
  byId("report").replaceChildren(paragraph);
  byId("report").made = "";
}

async function post(path, fields = {}) {
  const token = document.querySelector("[name=csrf_token]").value;
  // What a form does, but for following the redirect: that page would show the flash messages.
  const response = await fetch(path, {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ csrf_token: token, ...fields }),
  });
  if (response.type !== "opaqueredirect") throw new Error(`the server said ${response.status}`);
}

function cart() {
  const counts = {};
  for (const line of document.querySelectorAll("#cart [data-tea]")) {
    counts[line.dataset.tea] = Number(line.dataset.count);
  }
  return (tea) => counts[tea] ?? 0;
}

async function watched(work) {
  if (busy) return;
  busy = true;
  const buttons = [byId("slow").querySelector("button"), byId("show-me")];
  for (const button of buttons) button.disabled = true;
  byId("progress").style.setProperty("--seconds", `${seconds}s`);
  byId("progress").hidden = false;
  try {
    await work();
  } catch (error) {
    report("That did not work:", `${error.message}. Reload the page and try again.`);
  } finally {
    busy = false;
    for (const button of buttons) button.disabled = false;
    byId("progress").hidden = true;
  }
}

async function startSlow() {
  report("The slow request is under way.", "Now click in a second tab: add a tea, or end the session.");
  await post("/slow");
  busy = false;
  await refresh();
}

async function showMe() {
  const before = cart();
  report("The slow request is under way,", "with an oolong.");
  const slow = post("/slow");
  await new Promise((resolve) => setTimeout(resolve, seconds * 300));
  await post("/cart", { tea: "sencha" });
  await refresh();
  report("A quick request has added a sencha", "in the meantime, and is done. The slow one does not know yet.");
  await slow;
  await refresh();
  const after = cart();
  const oolong = after("oolong") - before("oolong") === 1;
  const sencha = after("sencha") - before("sencha") === 1;
  if (oolong && sencha) {
    report("Both are in the cart.", "The slow request wanted to store a session without the sencha, "
      + "found that it had changed, merged the two, and stored that.");
  } else if (oolong) {
    report("The sencha is lost.", "This storage cannot compare before it writes, so the request "
      + "that finished last has overwritten the other.");
  } else {
    report("The oolong was dropped.", "The session was ended, or got a new id, while the slow request ran.");
  }
}

byId("show-me").hidden = false;
byId("show-me-hint").hidden = false;
byId("show-me").addEventListener("click", () => watched(showMe));
byId("slow").addEventListener("submit", (event) => {
  event.preventDefault();
  watched(startSlow);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
addEventListener("pageshow", () => refresh());
setInterval(showTimes, 1000);

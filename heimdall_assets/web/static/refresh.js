// Figures stay current: every half minute the page's content is asked for anew, unless somebody is reading in it.
const PERIOD_MS = 30000;
const isBusy = () => document.hidden || document.activeElement !== document.body || !getSelection().isCollapsed;
setInterval(async () => {
  if (isBusy()) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("content");
    if (fresh && !isBusy()) document.getElementById("content").replaceWith(fresh);
  } catch {
    // away: the next one will tell
  }
}, PERIOD_MS);

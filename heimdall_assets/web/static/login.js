// `heimdall up` prints an address with the token behind the #, which browsers never send: it is used once, here.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  const form = document.getElementById("log-in");
  form.elements.token.value = token;
  form.submit();
}

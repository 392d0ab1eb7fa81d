// The page is loaded anew when one of its files has changed.
(() => {
  const scoped = location.pathname.match(/^\/__openclaw__\/cap\/([^/]+)\//);
  const capability = scoped ? decodeURIComponent(scoped[1]) : new URLSearchParams(location.search).get("oc_cap");
  const query = capability ? `?oc_cap=${encodeURIComponent(capability)}` : "";
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  let pause = 1000;
  let lost = false;
  const listen = () => {
    const socket = new WebSocket(`${scheme}://${location.host}/__openclaw__/ws${query}`);
    socket.onopen = () => {
      // What changed while nobody listened is not known.
      if (lost) return location.reload();
      pause = 1000;
    };
    socket.onmessage = (event) => {
      if (event.data === "reload") location.reload();
    };
    socket.onclose = () => {
      lost = true;
      setTimeout(listen, pause);
      pause = Math.min(pause * 2, 30000);
    };
  };
  try {
    listen();
  } catch {
    // A page that may not open sockets stays as it is.
  }
})();

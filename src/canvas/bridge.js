// What somebody does on this page, carried to the app that shows it.
(() => {
  const name = "openclawCanvasA2UIAction";
  const listener = () => {
    for (const found of [window.webkit?.messageHandlers?.[name], window[name]]) {
      if (typeof found?.postMessage === "function") return found;
    }
    return null;
  };
  const postMessage = (message) => {
    const app = listener();
    if (!app) return false;
    try {
      app.postMessage(typeof message === "string" ? message : JSON.stringify(message));
      return true;
    } catch {
      return false;
    }
  };
  const freshId = () => globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
  const sendUserAction = (action) => {
    const given = typeof action?.id === "string" ? action.id.trim() : "";
    return postMessage({ userAction: { ...action, id: given || freshId() } });
  };
  window.OpenClaw = Object.assign(window.OpenClaw ?? {}, { postMessage, sendUserAction });
  window.openclawPostMessage = postMessage;
  window.openclawSendUserAction = sendUserAction;
})();

// A browser starts no worker from a page that was opened as a file: the search runs in a hidden frame.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      const script = inside.document.createElement("script");
      const started = new Promise((resolve) => script.addEventListener("load", resolve));
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.postMessage = (data) =>
        started.then(() => inside.dispatchEvent(new MessageEvent("message", { data })));
      script.src = url;
      inside.document.body.append(script);
    }
  };

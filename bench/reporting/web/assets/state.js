// What is shown stands in the address, so that a view can be sent to somebody.

const state = {
  values: new Map(new URLSearchParams(location.hash.slice(1))),
  get(name, fallback) {
    return this.values.get(name) ?? fallback;
  },
  number(name, fallback, count) {
    const found = Number(this.values.get(name) ?? NaN);
    return Number.isInteger(found) && found >= 0 && found < count ? found : fallback;
  },
  // Several at once; null takes one away. Views are drawn anew, the dialog only where that is all that changes.
  set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") this.values.delete(name);
      else this.values.set(name, String(value));
    }
    const hash = `#${new URLSearchParams([...this.values])}`;
    if (hash === location.hash) return;
    this.own = hash;
    location.hash = hash;
    this.draw(Object.keys(changes));
  },
  draw() {},
};

addEventListener("hashchange", () => {
  if (location.hash === state.own) {
    state.own = null;
    return;
  }
  if (location.hash === "#main") return;
  state.values = new Map(new URLSearchParams(location.hash.slice(1)));
  state.draw(["view"]);
});

// A list of thousands of rows: only those that are seen are elements.
const ROW = 58;

const virtualList = (name, render, choose) => {
  let items = [], active = -1;
  const inner = h("div", { role: "presentation" });
  const box = h("div", { class: "list", role: "listbox", tabindex: 0, "aria-label": name }, inner);
  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
    const last = Math.min(items.length, first + Math.ceil((box.clientHeight || 600) / ROW) + 8);
    const shown = new Set(Array.from({ length: last - first }, (_, i) => first + i));
    if (active >= 0) shown.add(active); // a screen reader must find it
    inner.replaceChildren(...[...shown].sort((a, b) => a - b).map((place) => {
      const row = h("div", {
        class: "row", role: "option", id: `row-${place}`, "aria-selected": place === active ? "true" : "false",
        "aria-posinset": place + 1, "aria-setsize": items.length, onclick: () => { go(place); box.focus(); },
      }, render(items[place]));
      row.style.top = `${place * ROW}px`;
      row.style.height = `${ROW}px`;
      return row;
    }));
  };
  const into = (place) => {
    const top = place * ROW;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  };
  const go = (place) => {
    active = Math.max(-1, Math.min(items.length - 1, place));
    if (active >= 0) { into(active); box.setAttribute("aria-activedescendant", `row-${active}`); }
    else box.removeAttribute("aria-activedescendant");
    draw();
    choose(active >= 0 ? items[active] : null);
  };
  box.addEventListener("scroll", draw, { passive: true });
  box.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(box.clientHeight / ROW) - 1);
    const steps = { ArrowDown: active + 1, ArrowUp: Math.max(0, active - 1), PageDown: active + page, PageUp: Math.max(0, active - page), Home: 0, End: items.length - 1 };
    if (event.key in steps && items.length) { event.preventDefault(); go(steps[event.key]); }
    if (event.key === "Enter") { event.preventDefault(); document.getElementById("example")?.focus(); }
  });
  new ResizeObserver(draw).observe(box);
  const set = (wanted, selected) => {
    items = wanted;
    inner.style.height = `${items.length * ROW}px`;
    inner.style.position = "relative";
    go(Math.max(items.length ? 0 : -1, items.indexOf(selected)));
  };
  return { box, set };
};

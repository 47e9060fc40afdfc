// One example: its sentence, items, images, links and contexts.
const imageOf = (number) => (number === null || number === undefined ? null : DATA.images[number]);

const picture = (number, text) => {
  const image = imageOf(number);
  if (!image) return h("span", { class: "dim" }, "blank image");
  if (!image.src) return h("span", { class: "dim" }, `image not shown: ${image.error}`);
  return h("img", { src: image.src, alt: text, loading: "lazy" });
};

const exampleView = (place, run) => {
  const example = DATA.examples[place];
  const views = DATA.runs.map((one, i) => {
    const prediction = example.p[i];
    return { name: one.name, spans: prediction.spans || [], all: prediction.spans || [], findings: prediction.findings, prediction };
  });
  const first = [views[run], ...views.filter((_, i) => i !== run)];
  const gold = { ...example, spans: example.spans };
  const drawn = sentence(gold, first);
  return h("article", {},
    h("h2", { id: "example", tabindex: -1 }, `Example ${example.id}`),
    h("p", { class: "hidden" }, example.text),
    drawn,
    example.mention && h("p", {}, "Mention: ", h("strong", {}, example.mention)),
    h("p", { class: "dim", "aria-hidden": "true" }, "above: gold; below: ", first.map((view) => view.name).join(", then ")),
    "change" in example && h("p", {}, `What the photo changes: ${example.change.toFixed(3)}`),
    first.map((view) => view.prediction.cut !== undefined && h("p", { class: "wrong" }, `${view.name} did not read: ${notRead(example, view.prediction.cut)}`)),
    views.map((view, i) => itemTable(example, view, i)),
    pictures(example, views),
    shownOf(views),
    example.entity !== undefined && views.map((view) => links(example, view)),
    contexts(example));
};

const notRead = (example, cut) => (cut < example.offsets.length ? `the text from word ${cut + 1} on: “${example.text.slice(example.offsets[cut][0]).slice(0, 60)}…”` : "the end of the mention or of the contexts");
const wordsOf = (example, item) => {
  if (!item) return "–";
  if (typeof item === "string") return entityName(item);
  const words = (start, end) => example.text.slice(example.offsets[start][0], example.offsets[end - 1][1]);
  if (item.length === 3) return `${item[2]}: ${words(item[0], item[1])}`;
  return `${item[4]}: ${words(item[0], item[1])} → ${words(item[2], item[3])}`;
};
// Where a photo shows a span: its boxes in pixels.
const boxOf = (regions, span) => {
  const own = (regions || []).filter((region) => region.span === span);
  return own.length ? `in the box ${own.map((region) => region.box.map(shortNumber).join(", ")).join(" or ")}` : "in no box";
};
const itemTable = (example, view) => {
  const rows = (view.findings || []).map((finding) => {
    const { gold, said } = itemsOf(example, view.prediction, finding);
    const kind = h("span", { class: kindClass(finding[1]) }, nameOfKind(finding));
    const boxed = DATA.kinds[finding[1]] === "wrong box";
    const told = (item, regions, place) => `${wordsOf(example, item)}${boxed ? `, ${boxOf(regions, place)}` : ""}`;
    return [kind, finding[0], told(gold, example.regions, finding[2]), told(said, view.prediction.regions, finding[3]), finding[4] === null ? "–" : finding[4].toFixed(3)];
  });
  const caption = DATA.runs.length > 1 ? `Items, ${view.name}` : "Items";
  return rows.length ? table(caption, ["kind", "what", "gold", "predicted", "score"], rows) : h("p", { class: "dim" }, `${caption}: none, gold or predicted`);
};

const pictures = (example, views) => {
  if (!example.images.length) return h("p", { class: "dim" }, "no image");
  const boxes = new Map(), figures = [];
  const overlay = (photo, box, name, style = "") => {
    const image = imageOf(example.images[photo]?.image);
    if (!image || !image.width) return null;
    const element = h("div", { class: `box ${style}`, title: name });
    const [left, top, right, bottom] = box;
    Object.assign(element.style, {
      left: `${(100 * left) / image.width}%`, top: `${(100 * top) / image.height}%`,
      width: `${(100 * (right - left)) / image.width}%`, height: `${(100 * (bottom - top)) / image.height}%`,
    });
    if (!boxes.has(photo)) boxes.set(photo, []);
    boxes.get(photo).push(element);
    return element;
  };
  const marking = (element) => (element ? {
    tabindex: 0, onmouseenter: () => element.classList.add("marked"), onmouseleave: () => element.classList.remove("marked"),
    onfocus: () => element.classList.add("marked"), onblur: () => element.classList.remove("marked"),
  } : {});
  const regionsOf = (told, spans, name, style) => (told || []).map((region) => {
    const span = spans[region.span], words = wordsOf(example, span);
    const element = overlay(region.image, region.box, `${name}: ${words}`, style);
    if (element) element.append(badge(span[2], words));
    return h("li", { class: style, ...marking(element) }, `${name}: ${words}`);
  });
  const regions = [
    ...regionsOf(example.regions, example.spans, "gold", "gold"),
    ...views.flatMap((view) => regionsOf(view.prediction.regions, view.spans, view.name, "said")),
  ];
  example.images.forEach((image, i) => {
    if (image.role === "photo") return;
    const element = "photo" in image ? overlay(image.photo, image.box, `crop ${i}`, regions.length ? "faint" : "") : null;
    figures.push(h("figure", { class: "crop", ...marking(element) }, picture(image.image, `object crop ${i}`), h("figcaption", {}, element ? "crop (marks its box)" : "crop")));
  });
  const photos = example.images.map((image, i) => image.role === "photo" && h("figure", {},
    h("div", { class: "photo" }, picture(image.image, "photo"), boxes.get(i)), h("figcaption", {}, imageOf(image.image)?.name || "")));
  return h("section", {}, h("h3", {}, "Images"), photos, figures, regions.length > 0 && h("ul", { "aria-label": "Regions" }, regions));
};

const entityName = (id) => (DATA.entities[id] ? `${DATA.entities[id].name} (${id})` : id);
const links = (example, view) => {
  const found = view.prediction.links || [], scores = view.prediction.linkScores || [];
  return h("section", {}, h("h3", {}, `Links, ${view.name}`),
    h("p", {}, "Gold: ", entityName(example.entity)),
    h("ol", { class: "links" }, found.map((id, i) => {
      const entity = DATA.entities[id] || {};
      return h("li", {},
        "image" in entity && picture(entity.image, `image of ${entity.name}`),
        h("strong", { class: id === example.entity ? "right" : i === 0 ? "wrong" : null }, entityName(id)),
        id === example.entity && " (gold)", i in scores && ` ${scores[i].toFixed(3)}`,
        entity.description && h("div", { class: "dim" }, entity.description));
    })));
};
const contexts = (example) => (example.sources || []).length > 0 && h("section", {}, h("h3", {}, "Contexts"),
  h("ol", {}, example.sources.map((source) => h("li", {}, h("strong", {}, source.title), "score" in source && ` ${source.score.toFixed(3)}`, " ", source.text, h("span", { class: "dim" }, ` ${source.by}`)))));

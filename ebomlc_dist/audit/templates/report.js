"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const gallery = find("gallery");
  // What cannot be seen, or turns the writing round, is shown as an escape.
  const visible = (text) =>
    text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
  const name = (label) => visible(data.classes[label]);
  const percent = (share) => (100 * share).toFixed(1) + " %";

  const store = "ebomlc-audit-" + data.store;
  const decisions = new Map();
  try {
    for (const [id, decision] of JSON.parse(localStorage.getItem(store) || "[]")) decisions.set(id, decision);
  } catch {
    // A browser may keep nothing for local files: then decisions last as long as the page.
  }
  const keep = () => {
    try {
      localStorage.setItem(store, JSON.stringify([...decisions]));
    } catch {}
    find("decided").textContent = String(decisions.size);
  };

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const option = (value, text) => {
    const made = element("option", "", text);
    made.value = String(value);
    return made;
  };

  function button(card, item, kind) {
    const made = element("button", kind, kind);
    made.type = "button";
    made.tabIndex = -1;
    made.addEventListener("click", () => decide(card, item, kind));
    return made;
  }

  function makeCard(item) {
    const card = element("article", "card");
    card.setAttribute("role", "listitem");
    card.tabIndex = -1;
    card.setAttribute("aria-label", `rank ${item.rank}: given ${name(item.given)}, proposed ${name(item.proposed)}`);
    if (item.image) {
      const image = element("img");
      image.alt = "";
      image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 64));
      image.src = item.image;
      card.append(image);
    }
    if (item.text) {
      const text = element("bdi", "text", visible(item.text));
      text.dir = "auto";
      card.append(text);
    }
    const names = element("div", "names");
    const given = element("bdi", "given", name(item.given));
    const proposed = element("bdi", "proposed", name(item.proposed));
    names.append(given, " → ", proposed);
    const shares = `${percent(item.given_probability)} → ${percent(item.proposed_probability)}`;
    const meta = element("div", "meta", `#${item.rank}, suspicion ${item.suspicion.toFixed(3)}, ${shares}`);
    const where = element("bdi", "meta", visible(item.id));
    const buttons = element("div", "buttons");
    buttons.append(...["accept", "reject", "other"].map((kind) => button(card, item, kind)));
    card.append(names, meta, where, buttons);
    card.addEventListener("focus", () => select(card));
    paint(card, item);
    return { item, card };
  }

  function chooser(card, item, label) {
    const made = element("select");
    made.setAttribute("aria-label", "right label");
    made.append(...data.classes.map((_, index) => option(index, name(index))));
    made.value = String(label);
    made.addEventListener("change", () => set(card, item, { decision: "other", label: Number(made.value) }));
    return made;
  }

  function paint(card, item) {
    const found = decisions.get(item.id);
    if (found) card.dataset.decision = found.decision;
    else delete card.dataset.decision;
    for (const made of card.querySelectorAll("button"))
      made.setAttribute("aria-pressed", String(found?.decision === made.className));
    const old = card.querySelector("select");
    if (found?.decision === "other" && !old) card.append(chooser(card, item, found.label));
    if (found?.decision !== "other" && old) old.remove();
  }

  function set(card, item, decision) {
    if (decision) decisions.set(item.id, decision);
    else decisions.delete(item.id);
    keep();
    paint(card, item);
  }

  function decide(card, item, kind) {
    const label = { accept: item.proposed, reject: item.given }[kind] ?? decisions.get(item.id)?.label ?? item.proposed;
    set(card, item, { decision: kind, label });
    if (kind === "other") card.querySelector("select").focus();
  }

  const cards = data.cards.map(makeCard);
  let shown = [];
  let current = null;

  function select(card) {
    if (current) current.tabIndex = -1;
    current = card;
    card.tabIndex = 0;
  }

  function refresh() {
    const given = find("filter-given").value;
    const proposed = find("filter-proposed").value;
    const decision = find("filter-decision").value;
    const key = find("sort").value;
    shown = cards.filter(
      ({ item }) =>
        (given === "" || item.given === Number(given)) &&
        (proposed === "" || item.proposed === Number(proposed)) &&
        (decision === "" || (decisions.get(item.id)?.decision ?? "none") === decision),
    );
    const sign = key === "proposed_probability" ? -1 : 1;
    shown.sort((a, b) => sign * (a.item[key] - b.item[key]) || a.item.rank - b.item.rank);
    gallery.replaceChildren(...shown.map(({ card }) => card));
    find("showing").textContent = `${shown.length} of ${cards.length} shown.`;
    if (shown.length && !shown.some(({ card }) => card === current)) select(shown[0].card);
  }

  function move(step) {
    const place = shown.findIndex(({ card }) => card === current);
    const next = shown[Math.min(Math.max(place + step, 0), shown.length - 1)];
    if (next) next.card.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input")) {
      if (event.key === "Escape" && gallery.contains(event.target)) current?.focus();
      return;
    }
    const pair = shown.find(({ card }) => card === current);
    if (event.key === "ArrowRight" || event.key === "j") move(1);
    else if (event.key === "ArrowLeft" || event.key === "k") move(-1);
    else if (pair && event.key === "a") decide(pair.card, pair.item, "accept");
    else if (pair && event.key === "r") decide(pair.card, pair.item, "reject");
    else if (pair && event.key === "o") decide(pair.card, pair.item, "other");
    else if (pair && event.key === "u") set(pair.card, pair.item, null);
    else return;
    event.preventDefault();
  });

  // As --trusted reads it: the trusted images as they are, then every decided one under the label it was decided to have.
  function table() {
    const cell = (text) => `"${text.replaceAll('"', '""')}"`;
    const rows = [[data.key, "label", "decision", "noisy_label"].map(cell)];
    const taken = new Set(decisions.keys());
    const add = (id, label, decision, old) =>
      rows.push([id, data.classes[label], decision, old < 0 ? "" : data.classes[old]].map(cell));
    for (const [id, label, old] of data.trusted) if (!taken.has(id)) add(id, label, "trusted", old);
    for (const { item } of cards) {
      const found = decisions.get(item.id);
      if (found) add(item.id, found.label, found.decision, item.given);
    }
    return rows.map((row) => row.join(",") + "\n").join("");
  }

  find("download").addEventListener("click", () => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });

  const used = (key) => [...new Set(data.cards.map((item) => item[key]))].sort((a, b) => a - b);
  for (const key of ["given", "proposed"]) {
    find("filter-" + key).append(option("", "all"), ...used(key).map((label) => option(label, name(label))));
  }
  for (const id of ["filter-given", "filter-proposed", "filter-decision", "sort"])
    find(id).addEventListener("change", refresh);
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  keep();
  refresh();
})();

// The second tab: an image that is dragged, and each classifier's answers for all shifts.

import { COLORS, bars, draggable, drawPixels, legend, newestOnly } from "./drawing.js";

const ZOOM = 14;
const find = (id) => document.getElementById(id);
const isClassifier = ({ task }) => task === "classification";
const rgb = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));

export function startShift(backend, setup, state, guard) {
  const reach = setup.max_shift;
  const side = 2 * reach + 1;
  const offsets = [];
  for (let down = -reach; down <= reach; down++) {
    for (let right = -reach; right <= reach; right++) offsets.push([down, right]);
  }
  const indexOf = (down, right) => (down + reach) * side + right + reach;
  const meanColor = setup.models.find(isClassifier)?.mean_color ?? [0, 0, 0];
  let offset = [0, 0];
  const cards = new Map(); // by model: its elements and answers by index

  // The picture as the fill shows it; the models get theirs from the server.
  const drawImage = () => {
    const picture = state.picture;
    if (!picture) return;
    const { width, height, data } = picture;
    const fill = find("fill").value, [down, right] = offset;
    const source = (place, length) => {
      if (place >= 0 && place < length) return place;
      if (fill === "wrap") return ((place % length) + length) % length;
      if (fill === "nearest") return Math.min(Math.max(place, 0), length - 1);
      if (fill === "reflect") {
        const folded = ((place % (2 * length)) + 2 * length) % (2 * length);
        return folded < length ? folded : 2 * length - 1 - folded;
      }
      return -1;
    };
    const border = fill === "black" ? [0, 0, 0] : meanColor;
    drawPixels(find("shifted"), width, height, (i) => {
      const row = source(Math.floor(i / width) - down, height);
      const column = source((i % width) - right, width);
      if (row < 0 || column < 0) return border;
      return data.slice(4 * (row * width + column), 4 * (row * width + column) + 3);
    });
    find("offset").textContent = offset.join(", ");
  };

  const drawCard = (card) => {
    const here = card.answers[indexOf(...offset)], home = card.answers[indexOf(0, 0)];
    if (!here || !home) return;
    const isFlipped = here[0][0] !== home[0][0];
    card.now.replaceChildren(...bars(here, isFlipped));
    const counts = new Map();
    card.answers.forEach((answer) =>
      answer && counts.set(answer[0][0], (counts.get(answer[0][0]) ?? 0) + 1));
    const names = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
    const colorOf = (name) => COLORS[Math.min(names.indexOf(name), COLORS.length - 1)];
    const context = drawPixels(card.map, side, side, (i) =>
      card.answers[i] ? rgb(colorOf(card.answers[i][0][0])) : [0, 0, 0, 0], ZOOM);
    for (const [color, width] of [["#000", 6], ["#fff", 2]]) { // where the image is now
      [context.strokeStyle, context.lineWidth] = [color, width];
      context.strokeRect(ZOOM * (offset[1] + reach), ZOOM * (offset[0] + reach), ZOOM, ZOOM);
    }
    const total = card.answers.filter(Boolean).length;
    const shown = names.slice(0, COLORS.length - 1);
    const rest = names.slice(COLORS.length - 1).reduce((sum, name) => sum + counts.get(name), 0);
    const entries = shown.map((name) =>
      [colorOf(name), `${name} ${Math.round((100 * counts.get(name)) / total)} %`]);
    if (rest) entries.push([COLORS.at(-1), `others ${Math.round((100 * rest) / total)} %`]);
    card.legend.replaceChildren(legend(entries));
  };

  // First the shifts near the one that is shown, then all of them.
  const ask = newestOnly(async () => {
    const image = state.image, fill = find("fill").value;
    const isStale = () => image !== state.image || fill !== find("fill").value;
    for (const card of cards.values()) [card.answers, card.score.textContent] = [[], "..."];
    for (const batch of [[[0, 0], offset], offsets]) {
      for (const [name, card] of cards) {
        const started = performance.now();
        const found = await guard(() => backend.shifts(name, image, batch, fill));
        if (isStale()) return;
        if (!found) continue;
        batch.forEach((each, i) => (card.answers[indexOf(...each)] = found.answers[i]));
        if (batch === offsets) {
          card.score.textContent =
            `${found.consistency.toFixed(1)} % consistent over all ${offsets.length} shifts`;
        } else {
          find("shift").dataset.milliseconds = Math.round(performance.now() - started);
        }
        drawCard(card);
      }
    }
  });

  const addCard = (model) => {
    if (!isClassifier(model)) return;
    const { name } = model;
    const card = { answers: [] };
    const element = document.createElement("article");
    element.className = "card";
    const title = document.createElement("h2");
    title.append(...name.split(/(?<=[._])/).flatMap((part) => [part, document.createElement("wbr")]));
    for (const [key, tag] of [["now", "div"], ["map", "canvas"], ["score", "b"], ["legend", "div"]]) {
      card[key] = document.createElement(tag);
    }
    card.map.setAttribute("aria-label", `the answers of ${name} for all shifts`);
    element.append(title, card.now, card.map, card.score, card.legend);
    find("classifiers").append(element);
    cards.set(name, card);
  };

  setup.models.forEach(addCard);
  find("fill").replaceChildren(...setup.fills.map((fill) => new Option(fill, fill)));
  const moveTo = (down, right) => {
    offset = [down, right].map((step) => Math.min(Math.max(step, -reach), reach));
    drawImage();
    cards.forEach(drawCard);
  };
  draggable(find("shifted"), (down, right) => moveTo(offset[0] + down, offset[1] + right));
  find("center").addEventListener("click", () => moveTo(0, 0));
  const refresh = () => (moveTo(0, 0), ask());
  find("fill").addEventListener("change", refresh);
  return { refresh, addModel: (model) => (addCard(model), ask()) };
}

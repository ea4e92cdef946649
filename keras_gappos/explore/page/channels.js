// The third tab: the position channels of a model, and its answers without the best of them.

import { COLORS, bars, drawPixels, legend, newestOnly, viridis } from "./drawing.js";

const find = (id) => document.getElementById(id);
const rgb = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
const decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export function startChannels(backend, setup, state, guard) {
  const models = new Map(setup.models.map((model) => [model.name, model]));
  let seen = null; // the server's answer

  const picture = () => {
    const { width, height, data } = state.picture;
    return { width, height, at: (i) => data.slice(4 * i, 4 * i + 3) };
  };

  const drawLeft = () => {
    const step = Number(find("count").value);
    const model = models.get(find("channel-model").value);
    find("off").textContent = `${seen.counts[step]} of ${seen.counts.at(-1)}`;
    const { width, height, at } = picture();
    if (seen.answers) {
      drawPixels(find("looked"), width, height, at);
      const isFlipped = seen.answers[step][0][0] !== seen.answers[0][0][0];
      find("left").replaceChildren(...bars(seen.answers[step], isFlipped));
      return;
    }
    const [rows, columns] = seen.mask_shape;
    const masks = decode(seen.masks);
    const mask = masks.subarray(step * rows * columns, (step + 1) * rows * columns);
    const colors = COLORS.map(rgb);
    drawPixels(find("looked"), columns, rows, (i) => {
      const row = Math.floor((Math.floor(i / columns) * height) / rows);
      const pixel = at(row * width + Math.floor(((i % columns) * width) / columns));
      const color = colors[mask[i] % colors.length];
      return color.map((part, channel) => 0.4 * pixel[channel] + 0.6 * part);
    });
    const whole = masks.subarray(0, rows * columns);
    const changed = mask.reduce((sum, index, i) => sum + (index !== whole[i]), 0);
    const shown = [...new Set([...whole, ...mask])].sort((a, b) => a - b);
    const text = document.createElement("p");
    text.textContent = `${((100 * changed) / mask.length).toFixed(1)} % of the pixels changed class`;
    find("left").replaceChildren(text, legend(shown.map((index) =>
      [COLORS[index % COLORS.length], model.class_names[index]])));
  };

  const drawMaps = () => {
    const [rows, columns] = seen.map_shape, values = decode(seen.maps);
    const count = seen.channels.length;
    find("maps").replaceChildren(...seen.channels.map((channel, i) => {
      const box = document.createElement("div");
      for (const side of [0, 1]) {
        const canvas = document.createElement("canvas");
        const start = (side * count + i) * rows * columns;
        drawPixels(canvas, columns, rows, (pixel) => viridis(values[start + pixel] / 255));
        box.append(canvas);
      }
      const name = document.createElement("small");
      name.textContent = `channel ${channel}: ${seen.scores[i]}`;
      box.append(name);
      return box;
    }));
  };

  const refresh = newestOnly(async () => {
    const model = find("channel-model").value, image = state.image;
    if (!model || find("channels").hidden) return;
    find("looked-caption").textContent = "Looking at the channels ...";
    const found = await guard(() => backend.channels(model, image));
    find("looked-caption").textContent = !found ? "no channels to show" : found.masks ? "the image, and the class of each pixel" : "the image";
    for (const id of ["left", "maps"]) find(id).replaceChildren();
    find("count").disabled = !found;
    if (!found || model !== find("channel-model").value || image !== state.image) return;
    await state.show(models.get(model).image_shape);
    seen = found;
    find("count").max = seen.counts.length - 1;
    find("count").value = 0;
    drawLeft();
    drawMaps();
  });

  const addModel = (model) => {
    models.set(model.name, model);
    find("channel-model").add(new Option(model.name, model.name));
  };
  setup.models.forEach(addModel);
  // The one that needs position most: a segmentation network.
  find("channel-model").value =
    (setup.models.find(({ task }) => task === "segmentation") ?? setup.models[0])?.name;
  find("channel-model").addEventListener("change", refresh);
  find("count").addEventListener("input", () => seen && drawLeft());
  return { refresh, addModel };
}

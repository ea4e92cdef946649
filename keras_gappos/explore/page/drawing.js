// Pictures on canvases. Colors are Okabe and Ito's, which people with color blindness can tell apart.

export const COLORS = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
  [92, 200, 99], [170, 220, 50], [253, 231, 37]];

// `value` in [0, 1].
export function viridis(value) {
  const place = Math.min(Math.max(value, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[low].map((part, i) => part + (VIRIDIS[low + 1][i] - part) * (place - low));
}

// Fills a canvas with pixels, each `zoom` wide; `colorOf(index)` gives [red, green, blue] or
// [..., alpha].
export function drawPixels(canvas, width, height, colorOf, zoom = 1) {
  const small = new OffscreenCanvas(width, height);
  const picture = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue, alpha = 255] = colorOf(i);
    picture.data.set([red, green, blue, alpha], 4 * i);
  }
  small.getContext("2d").putImageData(picture, 0, 0);
  [canvas.width, canvas.height] = [zoom * width, zoom * height];
  canvas.dataset.pixels = width;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  return context;
}

// The cells of a grid, each as bright as its probability, the best one framed.
export function drawGrid(canvas, gridSize, probabilities, trueCell) {
  const size = 60 * gridSize;
  [canvas.width, canvas.height] = [2 * size, 2 * size];
  const context = canvas.getContext("2d");
  context.scale(2, 2); // sharp on fine displays
  const best = probabilities.indexOf(Math.max(...probabilities));
  probabilities.forEach((probability, cell) => {
    const [x, y] = [60 * (cell % gridSize), 60 * Math.floor(cell / gridSize)];
    context.fillStyle = `rgb(${viridis(probability)})`;
    context.fillRect(x, y, 59, 59);
    context.fillStyle = probability > 0.6 ? "#000" : "#fff";
    context.font = "16px system-ui";
    context.textAlign = "center";
    context.fillText(`${Math.round(100 * probability)} %`, x + 30, y + 35);
  });
  const frame = (cell, color, inset) => {
    context.strokeStyle = color;
    context.lineWidth = 4;
    context.strokeRect(
      60 * (cell % gridSize) + inset, 60 * Math.floor(cell / gridSize) + inset,
      59 - 2 * inset, 59 - 2 * inset);
  };
  frame(best, best === trueCell ? "#56b4e9" : "#d55e00", 2);
  return best;
}

// Lines of a class's name, a bar and its percentage.
export function bars(answers, isFlipped) {
  return answers.map(([name, percent], i) => {
    const line = document.createElement("div");
    line.className = `bar${isFlipped && i === 0 ? " flipped" : ""}`;
    const [label, bar, number] = ["span", "i", "span"].map((tag) => document.createElement(tag));
    [label.textContent, label.title] = [name, name];
    bar.style.width = `${percent}%`;
    number.textContent = `${percent.toFixed(0)} %`;
    line.append(label, bar, number);
    return line;
  });
}

export function legend(entries) {
  const list = document.createElement("div");
  list.className = "legend";
  for (const [color, text] of entries) {
    const entry = document.createElement("span");
    const mark = document.createElement("i");
    mark.style.background = color;
    entry.append(mark, text);
    list.append(entry);
  }
  return list;
}

// Calls `move(down, right)` in pixels of the image, for drags and for the arrow keys.
export function draggable(canvas, move) {
  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
    last = [event.clientY, event.clientX];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const scale = canvas.clientWidth / canvas.dataset.pixels;
    const steps = [event.clientY - last[0], event.clientX - last[1]].map((d) => Math.trunc(d / scale));
    if (!steps[0] && !steps[1]) return;
    last = [last[0] + steps[0] * scale, last[1] + steps[1] * scale];
    move(...steps);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
  const keys = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    move(...keys[event.key]);
  });
}

// Runs an asynchronous function for the newest arguments alone; a run that is overtaken is skipped.
export function newestOnly(run) {
  let waiting = null, running = false;
  return async (...args) => {
    waiting = args;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const next = waiting;
        waiting = null;
        await run(...next);
      }
    } finally {
      running = false;
    }
  };
}

// The first tab: a digit on a canvas, and the cell that each network names.

import { draggable, drawGrid, drawPixels, newestOnly } from "./drawing.js";

const ZOOM = 12;
const find = (id) => document.getElementById(id);

function shuffled(count) {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

export async function startLocation(backend, grids, guard) {
  let setup, digit = 0, place = [0, 0], order = null;

  const pixels = () => {
    const { side, grid_size: gridSize, background, digits } = setup;
    const size = side * gridSize;
    const canvas = new Float32Array(size * size).fill(background);
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        canvas[(place[0] + row) * size + place[1] + column] = digits[digit][row * side + column];
      }
    }
    return canvas;
  };

  const trueCell = () => {
    const [row, column] = place.map((edge) =>
      Math.min(Math.floor((edge + setup.side / 2) / setup.side), setup.grid_size - 1));
    return row * setup.grid_size + column;
  };

  const answer = newestOnly(async () => {
    const started = performance.now();
    const { grid_size: gridSize, channels } = setup;
    const cell = trueCell();
    const answers = await guard(() => backend.locate(gridSize, pixels(), {
      gapnet: order ?? Array.from({ length: channels.gapnet }, (_, i) => i),
      permutenet: shuffled(channels.permutenet),
    }));
    if (!answers || gridSize !== setup.grid_size) return;
    for (const [name, probabilities] of Object.entries(answers)) {
      const best = drawGrid(find(name), gridSize, probabilities, cell);
      const says = find(`${name}-says`);
      says.textContent = `cell ${best}, ${best === cell ? "correct" : "wrong"}`;
      says.className = best === cell ? "" : "flipped";
    }
    const milliseconds = Math.round(performance.now() - started);
    find("location-note").textContent =
      `The digit is on cell ${cell}, counted row by row from 0. Answered in ${milliseconds} ms.`;
    find("location").dataset.milliseconds = milliseconds;
  });

  const draw = () => {
    const canvas = pixels(), size = setup.side * setup.grid_size;
    const context = drawPixels(find("canvas"), size, size, (i) => Array(3).fill(canvas[i]), ZOOM);
    const cell = trueCell();
    context.strokeStyle = "#56b4e9";
    context.lineWidth = ZOOM / 2;
    const cellSide = ZOOM * setup.side;
    context.strokeRect(
      cellSide * (cell % setup.grid_size), cellSide * Math.floor(cell / setup.grid_size),
      cellSide, cellSide);
    answer();
  };

  const choose = async (gridSize) => {
    const found = await guard(() => backend.location(gridSize));
    if (!found) return;
    [setup, order] = [found, null];
    place = [0, 0];
    find("shuffle").setAttribute("aria-pressed", "false");
    find("digits").replaceChildren(...setup.digits.map((values, i) => {
      const choice = document.createElement("canvas");
      drawPixels(choice, setup.side, setup.side, (pixel) => Array(3).fill(values[pixel]));
      choice.setAttribute("role", "button");
      choice.setAttribute("aria-label", `digit ${i + 1}`);
      choice.setAttribute("aria-pressed", String(i === digit));
      choice.addEventListener("click", () => {
        digit = i;
        [...find("digits").children].forEach((each, j) =>
          each.setAttribute("aria-pressed", String(j === i)));
        draw();
      });
      return choice;
    }));
    draw();
  };

  find("grid").replaceChildren(...grids.map((size) => new Option(`${size} x ${size}`, size)));
  find("grid").addEventListener("change", (event) => choose(Number(event.target.value)));
  find("shuffle").addEventListener("click", () => {
    order = order ? null : shuffled(setup.channels.gapnet);
    find("shuffle").setAttribute("aria-pressed", String(order !== null));
    answer();
  });
  draggable(find("canvas"), (...steps) => {
    const room = setup.side * (setup.grid_size - 1);
    place = place.map((edge, axis) => Math.min(Math.max(edge + steps[axis], 0), room));
    draw();
  });
  await choose(grids[0]);
}

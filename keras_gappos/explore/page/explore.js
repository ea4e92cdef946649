// Starts the page: with the server all three tabs, without one the first.

import { inBrowser, server } from "./backend.js";
import { startChannels } from "./channels.js";
import { startLocation } from "./location.js";
import { startShift } from "./shift.js";

const find = (id) => document.getElementById(id);

function say(text) {
  find("message").hidden = !text;
  find("message").textContent = text ?? "";
}

// The result of an asynchronous function, or `null` after an error, which is shown.
async function guard(run) {
  try {
    return await run();
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
    return null;
  }
}

// The image that the second and third tabs share.
const state = {
  image: null,
  picture: null, // its pixels, `ImageData`
  async show(shape) {
    const image = new Image();
    image.src = server.imageAddress(state.image, shape);
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    state.picture = context.getImageData(0, 0, canvas.width, canvas.height);
  },
};

const live = document.documentElement.dataset.backend === "server";
const backend = live ? server : await guard(inBrowser);
const setup = await guard(() => backend.setup());
await startLocation(backend, setup.grids, guard);

if (live) {
  const tabs = {
    shift: startShift(backend, setup, state, guard),
    channels: startChannels(backend, setup, state, guard),
  };
  const shape = setup.models.find(({ task }) => task === "classification")?.image_shape ?? [64, 64, 3];
  let open = "location";

  const refresh = async () => {
    if (open === "shift") await guard(() => state.show(shape));
    tabs[open]?.refresh();
  };
  const choose = (name) => {
    state.image = name;
    document.querySelectorAll(".images").forEach((select) => (select.value = name));
    refresh();
  };
  document.querySelectorAll(".images").forEach((select) => {
    select.replaceChildren(...setup.images.map((name) => new Option(name, name)));
    select.addEventListener("change", () => (say(), choose(select.value)));
  });
  state.image = setup.images[0];

  find("tabs").addEventListener("click", ({ target }) => {
    if (!target.dataset.tab) return;
    say();
    open = target.dataset.tab;
    for (const button of find("tabs").children) {
      button.setAttribute("aria-selected", String(button === target));
      find(button.dataset.tab).hidden = button !== target;
    }
    refresh();
  });

  const onUpload = (selector, add) =>
    document.querySelectorAll(selector).forEach((input) =>
      input.addEventListener("change", async () => {
        say();
        const added = input.files[0] && (await guard(() => add(input.files[0])));
        input.value = "";
        if (added) await adopt[selector](added);
      }));
  const adopt = {
    ".upload-image": ({ name }) => {
      document.querySelectorAll(".images").forEach((select) => select.add(new Option(name, name)));
      choose(name);
    },
    ".upload-model": (model) => {
      Object.values(tabs).forEach((tab) => tab.addModel(model));
      if (open === "channels" || model.task === "segmentation") find("channel-model").value = model.name;
      refresh();
    },
  };
  onUpload(".upload-image", backend.addImage);
  onUpload(".upload-model", backend.addModel);
} else {
  document.querySelector("header").hidden = true;
}
document.body.dataset.ready = "true";

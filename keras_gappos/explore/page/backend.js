// Where answers come from: the server of `keras-gappos explore`, or, on a page without one, ONNX
// Runtime Web, which runs the two networks of the first tab in the browser.

async function read(response) {
  const content = await response.json().catch(() => ({}));
  if (response.ok) return content;
  const { detail } = content;
  throw new Error(
    typeof detail === "string" ? detail : `The server did not take that (${response.status}).`);
}

const post = (path, body) =>
  fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }).then(read);

const send = (path, file) =>
  fetch(path, {
    method: "POST", headers: { "content-type": "application/octet-stream" }, body: file,
  }).then(read);

export const server = {
  setup: () => fetch("api/setup").then(read),
  location: (gridSize) => fetch(`api/location/${gridSize}`).then(read),
  locate: (gridSize, canvas, orders) =>
    post("api/locate", { grid_size: gridSize, canvas: Array.from(canvas), orders }),
  imageAddress: (name, [height, width]) =>
    `api/image/${encodeURIComponent(name)}/${height}/${width}`,
  addImage: (file) => send("api/image", file),
  addModel: (file) => send(`api/model?name=${encodeURIComponent(file.name)}`, file),
  shifts: (model, image, offsets, fill) => post("api/shifts", { model, image, offsets, fill }),
  channels: (model, image) => post("api/channels", { model, image }),
};

export async function inBrowser() {
  const ort = await import("./ort/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  const files = await fetch("location.json").then(read);
  const sessions = {};
  const session = (name) => (sessions[name] ??= ort.InferenceSession.create(`${name}.onnx`));
  return {
    setup: async () => ({ models: [], images: [], fills: [], grids: Object.keys(files).map(Number) }),
    location: async (gridSize) => files[gridSize],
    async locate(gridSize, canvas, orders) {
      const answers = {};
      const side = gridSize * files[gridSize].side;
      for (const [name, order] of Object.entries(orders)) {
        const outputs = await (await session(`${name}_${gridSize}x${gridSize}`)).run({
          canvas: new ort.Tensor("float32", Float32Array.from(canvas), [1, side, side, 1]),
          order: new ort.Tensor("int32", Int32Array.from(order), [1, order.length]),
        });
        answers[name] = Array.from(Object.values(outputs)[0].data);
      }
      return answers;
    },
  };
}

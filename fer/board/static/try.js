// A photo or the webcam's frames: the faces, their bars, and what the net looks at.
"use strict";
const model = document.getElementById("model"), cropped = document.getElementById("cropped");
const drop = document.getElementById("drop"), photo = document.getElementById("photo"), said = document.getElementById("said");
const video = document.getElementById("video"), canvas = document.getElementById("picture"), found = document.getElementById("found");
const webcam = document.getElementById("webcam");
const MOST = +said.dataset.most;
const WIDEST = 1280; // pixels of the picture as it is shown
let shown = null; // what the canvas shows
let camera = null;

async function ask(address, body, more = {}) {
  const query = new URLSearchParams({ model: model.value, ...more });
  const response = await fetch(`${address}?${query}`, { method: "POST", body });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function look(file) {
  stop();
  if (file.size > MOST) return tell(`more than ${MOST / 1e6} MB; a smaller photo is enough`);
  tell("looking for faces …");
  shown = file;
  found.replaceChildren();
  canvas.hidden = true;
  try {
    const answer = await ask("/try/faces", file, cropped.checked ? { cropped: 1 } : {});
    if (shown !== file) return;
    paint(await picture(file), answer);
    list(answer);
  } catch (error) {
    tell(error.message);
  }
}

// In the browser's own formats only; any other is framed on gray.
async function picture(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

function paint(image, answer) {
  const shrink = Math.min(1, WIDEST / answer.width);
  canvas.width = Math.round(answer.width * shrink);
  canvas.height = Math.round(answer.height * shrink);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#888";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (image) pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const size = Math.max(14, Math.round(canvas.width / 45));
  pen.lineWidth = Math.max(2, size / 7);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  answer.faces.forEach((face, number) => {
    const [x, y, width, height] = [face.box.x, face.box.y, face.box.width, face.box.height].map(each => each * shrink);
    const text = answer.faces.length > 1 ? `${number + 1} ${face.label}` : face.label;
    pen.strokeStyle = pen.fillStyle = "#5adc5a";
    pen.strokeRect(x, y, width, height);
    const foot = Math.max(y, size * 1.4);
    pen.fillRect(x, foot - size * 1.4, pen.measureText(text).width + size * 0.6, size * 1.4);
    pen.fillStyle = "#141414";
    pen.fillText(text, x + size * 0.3, foot - size * 0.4);
  });
  canvas.hidden = false;
}

const tell = text => { said.textContent = text; };
const element = (name, text = "", more = {}) => Object.assign(document.createElement(name), { textContent: text, ...more });

function list(answer) {
  const count = answer.faces.length;
  tell(count ? `${count} ${count > 1 ? "faces" : "face"}, found by ${cropped.checked ? "you" : answer.detector}`
    : "No face was found. A picture that is one face, closely cropped: tick the box above.");
  found.replaceChildren(...answer.faces.map((face, number) => card(face, number, count)));
}

function card(face, number, count) {
  const section = document.createElement("section"), figure = document.createElement("figure"), right = document.createElement("div");
  const image = element("img", "", { src: face.image, className: "photographs", alt: "the face as the net sees it" });
  const caption = element("figcaption", "as the net sees it");
  figure.append(image, caption);
  const bars = document.createElement("div");
  bars.className = "bars";
  for (const [name, share] of Object.entries(face.probabilities)) {
    const button = element("button", name, { type: "button", title: `what speaks for ${name}` });
    button.setAttribute("aria-pressed", "false");
    const bar = element("progress", "", { max: 1, value: share });
    bar.setAttribute("aria-label", name);
    bars.append(button, bar, element("output", `${(100 * share).toFixed(1)}%`));
    button.addEventListener("click", () => explain(face, name, image, caption, bars, button));
  }
  right.append(element("h2", count > 1 ? `${number + 1}: ${face.label}` : face.label), bars);
  section.append(figure, right);
  return section;
}

const bytesOf = address => Uint8Array.from(atob(address.split(",")[1]), letter => letter.charCodeAt(0));

async function explain(face, name, image, caption, bars, button) {
  const again = button.getAttribute("aria-pressed") === "true";
  for (const each of bars.querySelectorAll("button")) each.setAttribute("aria-pressed", "false");
  if (again) {
    Object.assign(image, { src: face.image, alt: "the face as the net sees it" });
    caption.textContent = "as the net sees it";
    return;
  }
  button.setAttribute("aria-pressed", "true");
  caption.textContent = `what speaks for ${name} …`;
  try {
    const answer = await ask("/try/map", bytesOf(face.image), { class: name });
    Object.assign(image, { src: answer.image, alt: `where the face speaks for ${name}` });
    caption.textContent = `red: covered, ${name} falls, by ${(100 * answer.most).toFixed(1)} points at most; blue: it rises`;
  } catch (error) {
    caption.textContent = error.message;
  }
}

function stop() {
  camera?.getTracks().forEach(track => track.stop());
  camera = null;
  webcam.setAttribute("aria-pressed", "false");
}

async function watchCamera() {
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
  } catch (error) {
    return tell(`no webcam: ${error.message}`);
  }
  const mine = camera;
  webcam.setAttribute("aria-pressed", "true");
  shown = null;
  video.srcObject = mine;
  await video.play();
  const frame = document.createElement("canvas");
  [frame.width, frame.height] = [video.videoWidth, video.videoHeight];
  while (camera === mine) {
    frame.getContext("2d").drawImage(video, 0, 0);
    const file = await new Promise(done => frame.toBlob(done, "image/jpeg", 0.9));
    try {
      const answer = await ask("/try/faces", file, cropped.checked ? { cropped: 1 } : {});
      if (camera !== mine) return;
      paint(frame, answer);
      list(answer);
    } catch (error) {
      tell(error.message);
      return stop();
    }
    await new Promise(requestAnimationFrame);
  }
}

photo.addEventListener("change", () => { if (photo.files.length) look(photo.files[0]); });
webcam.addEventListener("click", () => {
  if (camera) return stop();
  if (!navigator.mediaDevices) return tell("a browser gives its webcam to 127.0.0.1 and to https alone");
  watchCamera();
});
for (const again of [model, cropped]) again.addEventListener("change", () => { if (shown) look(shown); });
for (const kind of ["dragover", "dragleave", "drop"])
  drop.addEventListener(kind, event => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) look(event.dataTransfer.files[0]);
  });
document.addEventListener("paste", event => { if (event.clipboardData.files.length) look(event.clipboardData.files[0]); });
addEventListener("pagehide", stop);

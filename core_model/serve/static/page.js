// Takes pictures from a file or the camera and has them read by the program behind this page.
// Pictures go nowhere else; nothing is kept.

import {at, clear, makeRows, show, showFacts, status, tell, way, words} from './view.js';

const LONG_SIDE = {camera: 640, image: 1600}; // pixels that are sent
const camera = at('camera');
const token = takeToken();
let image = null; // that was dropped or chosen
let film = null; // the camera that runs

class Refused extends Error {}

function takeToken() {
  // It came behind the #, which browsers send nowhere. It stays in this tab alone.
  if (location.hash.length > 20) {
    sessionStorage.setItem('token', location.hash.slice(1));
    history.replaceState(null, '', location.pathname + location.search);
  }
  return sessionStorage.getItem('token');
}

// --- asking ------------------------------------------------------------------------------------

async function ask(path, {stream = '', ...more} = {}) {
  const headers = {Authorization: `Bearer ${token}`, 'X-Omote-Stream': stream};
  let answer;
  try {
    answer = await fetch(path, {...more, headers, cache: 'no-store'});
  } catch {
    throw new Refused('other');
  }
  if (answer.status === 401) throw new Refused('token');
  if (!answer.ok) throw new Refused((await answer.json().catch(() => ({}))).problem ?? 'other');
  return answer;
}

async function read(frame, asked, stream) {
  const body = await new Promise((done) => frame.toBlob(done, 'image/jpeg', 0.9));
  const path = asked ? `/read?way=${asked}` : '/read';
  const raw = await (await ask(path, {method: 'POST', body, stream})).arrayBuffer();
  const end = 4 + new DataView(raw).getUint32(0);
  const answer = JSON.parse(new TextDecoder().decode(raw.slice(4, end)));
  const hidden = raw.byteLength > end ? new Blob([raw.slice(end)], {type: 'image/jpeg'}) : null;
  return {...answer, hidden: hidden && (await createImageBitmap(hidden))};
}

function drawn(source, width, height, longSide) {
  const zoom = Math.min(1, longSide / Math.max(width, height));
  const frame = document.createElement('canvas');
  frame.width = Math.max(1, Math.round(width * zoom));
  frame.height = Math.max(1, Math.round(height * zoom));
  frame.getContext('2d').drawImage(source, 0, 0, frame.width, frame.height);
  return frame;
}

// --- pictures ----------------------------------------------------------------------------------

async function readFile(file) {
  stopCamera();
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    tell('problem_no_picture');
    return;
  }
  image = drawn(picture, picture.width, picture.height, LONG_SIDE.image);
  picture.close();
  await reread();
}

async function reread() {
  const [mine, asked] = [image, way()];
  if (!mine) return;
  try {
    const answer = await read(mine, asked, '');
    if (mine === image && show(mine, asked, answer)) status(answer, null);
    tell('');
  } catch (e) {
    refused(e);
  }
}

function refused(e) {
  if (!(e instanceof Refused)) throw e;
  tell(e.message === 'token' ? 'locked' : `problem_${e.message}`);
}

// --- camera ------------------------------------------------------------------------------------

async function startCamera() {
  tell('');
  image = null;
  const mine = {stream: crypto.randomUUID(), video: document.createElement('video'), media: null};
  film = mine;
  showPressed();
  try {
    mine.media = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}});
    mine.video.muted = mine.video.playsInline = true;
    mine.video.srcObject = mine.media;
    await mine.video.play();
  } catch (e) {
    const why = {NotAllowedError: 'camera_denied', NotFoundError: 'camera_none'};
    if (film === mine) {
      stopCamera();
      tell(why[e.name] ?? 'camera_failed');
    }
  }
  if (film === mine) await follow(mine);
  else endMedia(mine);
}

async function follow(mine) {
  // The next picture is taken when the last one was read: a slow machine shows fewer, never late ones.
  const times = [];
  while (film === mine) {
    try {
      const {video} = mine;
      const frame = drawn(video, video.videoWidth, video.videoHeight, LONG_SIDE.camera);
      const asked = way();
      const answer = await read(frame, asked, mine.stream);
      if (film !== mine) return;
      times.push(performance.now());
      if (times.length > 20) times.shift();
      const spent = (times.at(-1) - times[0]) / 1000;
      if (show(frame, asked, answer)) status(answer, spent ? (times.length - 1) / spent : 0);
    } catch (e) {
      if (e.message !== 'busy' && e.message !== 'passed_over') {
        stopCamera();
        refused(e);
        return;
      }
    }
    await new Promise(requestAnimationFrame); // a tab that nobody sees takes no pictures
  }
}

function stopCamera() {
  const mine = film;
  film = null;
  if (mine) {
    endMedia(mine);
    ask('/end', {method: 'POST', stream: mine.stream, keepalive: true}).catch(() => {});
  }
  showPressed();
}

function endMedia({media}) {
  for (const track of media?.getTracks() ?? []) track.stop();
}

function showPressed() {
  camera.setAttribute('aria-pressed', String(Boolean(film)));
  camera.textContent = film ? words.stop_camera : words.start_camera;
}

// --- beginning ----------------------------------------------------------------------------------

async function begin() {
  if (!token) return tell('locked');
  try {
    const about = await (await ask('/about')).json();
    makeRows(about.aus);
    showFacts(about);
  } catch (e) {
    return refused(e);
  }
  camera.addEventListener('click', () => (film ? stopCamera() : startCamera()));
  at('file').addEventListener('change', ({target}) => {
    if (target.files[0]) readFile(target.files[0]);
    target.value = ''; // the same file may be chosen again
  });
  for (const input of document.querySelectorAll('input[name=way]')) {
    input.addEventListener('change', () => {
      if (way()) clear();
      reread();
    });
  }
  for (const [kind, isOver] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      at('stage').classList.toggle('over', isOver);
      if (kind === 'drop' && event.dataTransfer.files[0]) readFile(event.dataTransfer.files[0]);
    });
  }
  at('people').addEventListener('chosen', reread);
  addEventListener('pagehide', stopCamera);
}

begin();

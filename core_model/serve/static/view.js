// What is on the page: the picture with boxes, the bars, the facts. Knows nothing of sending.

export const words = JSON.parse(document.getElementById('words').textContent);
export const at = (id) => document.getElementById(id);
export const way = () => document.querySelector('input[name=way]:checked').value;

const [canvas, people] = [at('picture'), at('people')];
const shown = {person: 1, rows: new Map(), told: 0};
const CALM_MS = 1000; // a status that changes more often cannot be read, nor read aloud

export function tell(word) {
  at('problem').textContent = word ? (words[word] ?? words.problem_other) : '';
  at('problem').hidden = !word;
}

export function clear() {
  canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);
}

export function show(frame, asked, answer) {
  if (asked !== way()) return false; // chosen anew meanwhile: what was to be hidden is not shown
  if (canvas.width !== answer.width) canvas.width = answer.width;
  if (canvas.height !== answer.height) canvas.height = answer.height;
  const pen = canvas.getContext('2d');
  if (asked && !answer.hidden) clear();
  else pen.drawImage(asked ? answer.hidden : frame, 0, 0, canvas.width, canvas.height);
  choosePerson(answer.people.map((p) => p.person));
  for (const person of answer.people) drawBox(pen, person);
  showAus(answer.people.find((p) => p.person === shown.person));
  canvas.hidden = false;
  at('prompt').hidden = true;
  return true;
}

function drawBox(pen, {person, box}) {
  if (!box.length) return;
  const unit = Math.max(1, Math.max(canvas.width, canvas.height) / 640);
  const isChosen = person === shown.person;
  pen.lineWidth = (isChosen ? 2.5 : 1.5) * unit;
  pen.strokeStyle = isChosen ? '#ffb03b' : '#ffffff';
  pen.strokeRect(...box);
  pen.font = `600 ${15 * unit}px system-ui, sans-serif`;
  pen.lineWidth = 3 * unit;
  pen.strokeStyle = '#12191c';
  pen.strokeText(person, box[0] + 4 * unit, box[1] + 17 * unit);
  pen.fillStyle = isChosen ? '#ffb03b' : '#ffffff';
  pen.fillText(person, box[0] + 4 * unit, box[1] + 17 * unit);
}

function choosePerson(numbers) {
  if (numbers.length && !numbers.includes(shown.person)) shown.person = Math.min(...numbers);
  const list = people.querySelector('div');
  numbers.sort((a, b) => a - b);
  if (list.dataset.numbers !== numbers.join()) {
    list.dataset.numbers = numbers.join();
    list.replaceChildren(...numbers.map((n) => {
      const [label, input] = [document.createElement('label'), document.createElement('input')];
      Object.assign(input, {type: 'radio', name: 'person', value: n});
      input.addEventListener('change', () => {
        shown.person = n;
        people.dispatchEvent(new Event('chosen'));
      });
      label.append(input, `${words.person} ${n}`);
      return label;
    }));
  }
  for (const input of list.querySelectorAll('input')) input.checked = +input.value === shown.person;
  people.hidden = numbers.length < 2;
}

function makeRow({au, threshold}) {
  const row = document.createElement('li');
  const parts = {};
  for (const [tag, name] of [['b', 'code'], ['span', 'name'], ['span', 'state'], ['span', 'value'],
    ['span', 'track']]) {
    parts[name] = row.appendChild(document.createElement(tag));
    parts[name].className = name;
  }
  for (const name of ['fill', 'mark']) {
    parts[name] = parts.track.appendChild(document.createElement('span'));
    parts[name].className = name;
  }
  parts.code.textContent = `AU${au}`;
  parts.name.textContent = words[`au${au}`];
  parts.mark.style.left = `${100 * threshold}%`;
  parts.mark.title = `${words.threshold} ${Math.round(100 * threshold)} %`;
  shown.rows.set(String(au), {row, ...parts});
  return row;
}

export function makeRows(aus) {
  at('aus').replaceChildren(...aus.map(makeRow));
  showAus(undefined);
}

function showAus(person) {
  for (const [au, {row, fill, value, state}] of shown.rows) {
    const found = person?.aus[au];
    const word = !found ? '' : found.occurs === null ? 'unsure' : found.occurs ? 'occurs' : 'occurs_not';
    row.className = {occurs: 'on', unsure: 'unsure', '': 'none'}[word] ?? '';
    fill.style.width = found ? `${100 * found.p}%` : '0';
    value.textContent = found ? `${Math.round(100 * found.p)} %` : '–';
    state.textContent = word ? words[word] : '';
  }
}

export function status(answer, rate) {
  if (rate !== null && performance.now() - shown.told < CALM_MS) return;
  shown.told = performance.now();
  const n = answer.people.length;
  const faces = n === 0 ? words.no_face : n === 1 ? words.one_face : words.faces.replace('{n}', n);
  const speed = rate === null ? words.took.replace('{n}', Math.round(answer.took_ms))
    : words.each_second.replace('{n}', Math.round(rate));
  at('status').textContent = `${faces} · ${speed}`;
}

export function showFacts({model, permit}) {
  const facts = [
    ['model', `${model.file} (${model.precision}, ${model.sha256.slice(0, 12)})`],
    ['signed_by', model.signed_by], ['licence', model.licence],
    ['probabilities', model.probabilities], ['use', permit.use], ['duties', permit.duties],
    ['prohibited', model.prohibited_uses],
  ];
  for (const [word, value] of facts) {
    const [name, text] = [document.createElement('dt'), document.createElement('dd')];
    name.textContent = words[word];
    if (Array.isArray(value)) {
      const list = text.appendChild(document.createElement('ul'));
      for (const line of value) list.appendChild(document.createElement('li')).textContent = line;
    } else {
      text.textContent = value;
    }
    at('facts').append(name, text);
  }
}

// The page: what it asks for stands in its address, so that a link shows the same and Back
// works. A change writes the address; the address is read, asked for, and shown.

import {text, writeWords, number, share, dayRange, isolated} from './text.js';
import {drawCharts} from './draw.js';
import {showScenes, showRows, nameOf} from './table.js';

const $ = id => document.getElementById(id);
const asked = ['from', 'to', 'by', 'group', 'scene']; // parameters that the report depends on
const mostBuckets = 1500; // in a chart, as the store allows
let report; // what is shown
let request = new AbortController(); // of the report that is being loaded
let finding = new AbortController(); // of the rows that are being searched for

start();

function start() {
  writeWords();
  $('controls').onsubmit = event => event.preventDefault();
  for (const button of document.querySelectorAll('[data-range]')) {
    button.onclick = () => goDays(quickRange(button.dataset.range));
  }
  $('from').onchange = $('to').onchange = event => changeDays(event.target);
  $('by').onchange = () => go({by: $('by').value});
  $('group').onchange = () => go({group: $('group').value});
  $('everything').onclick = event => {
    const alone = parameters().get('scene');
    stay(event, {scene: null}, () => focus(linkOf(alone) ?? $('scenes-title')));
  };
  let typing;
  $('search').oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(changeSearch, report?.more > 0 ? 300 : 0); // the server is asked if there is more than is shown
  };
  window.onpopstate = () => load();
  load();
}

// parameters reads the address.
function parameters() {
  return new URLSearchParams(location.search);
}

// address returns the address with some parameters changed; null and "" take one away.
function address(changes) {
  const p = parameters();
  for (const [name, value] of Object.entries(changes)) {
    if (value) p.set(name, value); else p.delete(name);
  }
  return '?' + p;
}

function go(changes, then) {
  history.pushState(null, '', address(changes));
  return load(then);
}

// stay does a link's work without leaving the page, unless a new window is wanted.
function stay(event, changes, then) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(changes, then);
}

function changeDays(changed) {
  const other = changed === $('from') ? $('to') : $('from');
  if (!changed.validity.valid) return; // a year half typed
  if (!other.validity.valid || $('from').value > $('to').value) other.value = changed.value;
  goDays({from: $('from').value, to: $('to').value});
}

// goDays changes the days, and takes a longer interval if there would be more buckets than
// the server allows.
function goDays({from, to}) {
  const days = (new Date(to) - new Date(from)) / (24 * 3600e3) + 1;
  let by = $('by').value;
  if (by === 'hour' && days * 24 > mostBuckets) by = 'day';
  if (by === 'day' && days > mostBuckets) by = 'week';
  go({from, to, by: by === 'day' ? null : by});
}

// quickRange returns the days that a button stands for. They end today, where the store is.
function quickRange(name) {
  const today = new Date(report?.today ?? new Date().toISOString().slice(0, 10));
  const day = (months, date) => new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + months, date));
  let from, to = today;
  if (name === 'month') from = day(0, 1);
  else if (name === 'before') [from, to] = [day(-1, 1), day(0, 0)];
  else from = day(0, today.getUTCDate() + 1 - name);
  return {from: from.toISOString().slice(0, 10), to: to.toISOString().slice(0, 10)};
}

// load asks for the report of the address and shows it.
async function load(then) {
  request.abort();
  finding.abort();
  request = new AbortController();
  const {signal} = request;
  showControls();
  busy(true);
  try {
    const fresh = await fetchReport(wanted(), signal);
    report = fresh;
    showReport();
    await showFound(signal);
    then?.();
  } catch (error) {
    if (!signal.aborted) showError(error);
  } finally {
    if (!signal.aborted) busy(false);
  }
}

// wanted returns the parameters of the address that the server is asked with.
function wanted() {
  return new URLSearchParams([...parameters()].filter(([name]) => asked.includes(name)));
}

async function fetchReport(p, signal) {
  // A redirect leads to a login, perhaps of another site: it is told, not followed.
  // A whole address, without the name and password that a browser keeps of one that has them, and refuses to fetch by.
  const url = new URL('report.json?' + p, location.origin + location.pathname);
  const answer = await fetch(url, {signal, redirect: 'manual', headers: {Accept: 'application/json'}});
  const isJSON = answer.headers.get('Content-Type')?.startsWith('application/json');
  if (answer.type === 'opaqueredirect' || answer.status === 401 || answer.status === 403 || answer.ok && !isJSON) {
    throw Object.assign(new Error(text.signIn), {signedOut: true});
  }
  if (answer.ok) return answer.json();
  if (answer.status === 400 && isJSON) {
    throw Object.assign(new Error(text.refused), {detail: (await answer.json()).error});
  }
  throw new Error(text.failed);
}

function busy(isBusy) {
  $('main').setAttribute('aria-busy', isBusy);
  $('loading').textContent = isBusy ? text.loading : '';
  if (isBusy) $('alert').replaceChildren();
}

function showError(error) {
  if (!error.detail && !error.signedOut) console.error(error);
  const message = document.createElement('p');
  message.textContent = error.detail || error.signedOut ? error.message : text.failed;
  if (error.detail) {
    const detail = document.createElement('bdi');
    detail.textContent = error.detail;
    message.append(' ', detail);
  }
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = error.signedOut ? text.reload : text.retry;
  button.onclick = error.signedOut ? () => location.reload() : () => load();
  $('alert').replaceChildren(message, button);
  $('report').hidden = true; // it is of something else
  $('range').textContent = '';
}

// showControls sets the controls to the address.
function showControls() {
  const p = parameters();
  $('by').value = p.get('by') ?? 'day';
  if ($('search').value !== (p.get('search') ?? '')) $('search').value = p.get('search') ?? '';
  for (const name of ['from', 'to']) {
    if (p.get(name)) $(name).value = p.get(name);
  }
  showGroups(p.get('group') ?? '');
  const file = wanted();
  if (p.get('search')) file.set('search', p.get('search'));
  $('csv').href = 'report.csv?' + file;
}

function showGroups(chosen) {
  const groups = new Set(report?.groups ?? []);
  groups.delete('');
  if (chosen) groups.add(chosen);
  const option = (value, words) => Object.assign(document.createElement('option'), {value, textContent: words});
  $('group').replaceChildren(option('', text.allGroups), ...[...groups].map(g => option(g, isolated(g))));
  $('group').value = chosen;
}

function showReport() {
  const p = parameters();
  $('report').hidden = false;
  $('range').textContent = dayRange(report.from, report.to);
  $('from').value = report.from.slice(0, 10);
  $('to').value = dayBefore(report.to);
  $('from').max = $('to').max = report.today;
  for (const button of document.querySelectorAll('[data-range]')) {
    const {from, to} = quickRange(button.dataset.range);
    button.setAttribute('aria-pressed', from === $('from').value && to === $('to').value);
  }
  showGroups(p.get('group') ?? '');
  showAlone(p);
  showTotals(report.total);
  const nothing = report.scenes.length === 0 && report.total.scans === 0;
  $('empty').hidden = !nothing;
  $('empty').textContent = text.empty;
  $('charts').hidden = nothing;
  $('scenes').hidden = nothing && report.other.new_followers === 0 && report.other.lost === 0;
  if (!nothing) drawCharts(report, p.has('scene'));
  $('more').hidden = report.more === 0;
  $('more').textContent = text.more(number(report.scenes.length), number(report.more));
  $('zone').textContent = text.zone(report.zone);
  showWords();
}

function dayBefore(time) {
  const day = new Date(time.slice(0, 10));
  day.setUTCDate(day.getUTCDate() - 1);
  return day.toISOString().slice(0, 10);
}

// showAlone says that only some scenes are shown, and leads back to all.
function showAlone(p) {
  const keys = p.getAll('scene');
  $('alone').hidden = keys.length === 0;
  if (keys.length === 0) return;
  const scene = report.scenes.find(s => s.scene === keys[0]);
  $('alone-name').textContent = keys.length > 1 ? keys.join(', ') : nameOf(scene ?? {scene: keys[0]});
  const key = document.createElement('bdi');
  key.textContent = keys.length === 1 && scene?.name ? scene.scene : '';
  $('alone-key').replaceChildren(key);
  $('everything').href = address({scene: null});
}

function showTotals(total) {
  const card = (name, value, detail) => {
    const div = document.createElement('div');
    const put = (tag, content) => div.appendChild(document.createElement(tag)).textContent = content;
    put('dt', name);
    put('dd', value);
    if (detail) put('dd', detail);
    return div;
  };
  $('totals').replaceChildren(
    card(text.scans, number(total.scans)),
    card(text.newFollowers, number(total.new_followers)),
    card(text.people, number(total.people)),
    card(text.lost, number(total.lost)),
    ...total.stayed.map(s => card(text.stayed(s.days), share(s), s.of > 0 ? text.partOf(number(s.stayed), number(s.of)) : text.tooRecent)),
  );
}

function showWords() {
  const parts = [];
  for (const name of ['scans', 'newFollowers', 'people', 'lost', 'stayed']) {
    const term = document.createElement('dt'), meaning = document.createElement('dd');
    term.textContent = name === 'stayed' ? text.retention : text[name];
    meaning.textContent = text.meaning[name];
    parts.push(term, meaning);
  }
  $('words').replaceChildren(...parts);
}

// changeSearch narrows the table. It is no step of its own for Back.
function changeSearch() {
  history.replaceState(null, '', address({search: $('search').value}));
  showControls();
  if ($('main').getAttribute('aria-busy') === 'true') return; // the table comes with the report
  finding.abort();
  finding = new AbortController();
  const {signal} = finding;
  showFound(signal).catch(error => { if (!signal.aborted) showError(error); });
}

// showFound shows the rows that the search leaves. Those that the report left out only the
// server can find.
async function showFound(signal) {
  const search = $('search').value.toLowerCase();
  let scenes = report.scenes;
  if (search && report.more > 0) {
    $('count').textContent = text.searching;
    const p = wanted();
    p.set('search', $('search').value);
    scenes = (await fetchReport(p, signal)).scenes;
  }
  showScenes(scenes, report.other, {
    href: scene => address({scene}),
    open: (event, scene) => stay(event, {scene}, () => focus($('alone-title'))),
    sort: parameters().get('sort'),
    sorted: sort => history.replaceState(null, '', address({sort})),
  });
  const shown = showRows(s => [s.scene, s.name, s.group].some(t => t.toLowerCase().includes(search)));
  $('count').textContent = shown || !search ? text.count(number(shown), number(report.scenes.length + report.more)) : text.noMatch;
}

function linkOf(scene) {
  return [...document.querySelectorAll('#table tbody a')].find(a => new URL(a.href).searchParams.get('scene') === scene);
}

function focus(element) {
  if (element.tabIndex < 0) element.tabIndex = -1; // a heading can have it too
  element.focus();
}

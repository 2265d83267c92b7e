// The page. The URL has the whole query, so that links and Back work: a change updates
// the URL, and load requests and shows the report of the URL.

import {text, writeWords, number, share, dayRange, isolated} from './text.js';
import {drawCharts} from './draw.js';
import {showScenes, showRows, nameOf} from './table.js';

const $ = id => document.getElementById(id);
const queryParameters = ['from', 'to', 'interval', 'group', 'scene'];
const maxBuckets = 1500; // the limit of the server
let report; // that is shown
let request = new AbortController(); // for the report
let searching = new AbortController(); // for the search on the server

start();

function start() {
  writeWords();
  $('controls').onsubmit = event => event.preventDefault();
  for (const button of document.querySelectorAll('[data-range]')) {
    button.onclick = () => goDays(quickRange(button.dataset.range));
  }
  $('from').onchange = $('to').onchange = event => changeDays(event.target);
  $('interval').onchange = () => go({interval: $('interval').value});
  $('group').onchange = () => go({group: $('group').value});
  $('everything').onclick = event => {
    const alone = parameters().get('scene');
    navigate(event, {scene: null}, () => focus(linkOf(alone) ?? $('scenes-title')));
  };
  let typing;
  $('search').oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(changeSearch, report?.omitted_scenes > 0 ? 300 : 0); // the search runs on the server
  };
  window.onpopstate = () => load();
  load();
}

// parameters returns the parameters of the URL.
function parameters() {
  return new URLSearchParams(location.search);
}

// address returns the URL with some parameters changed; null and "" remove one.
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

// navigate follows a link without loading the page, unless a new window is requested.
function navigate(event, changes, then) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(changes, then);
}

function changeDays(changed) {
  const other = changed === $('from') ? $('to') : $('from');
  if (!changed.validity.valid) return; // while a year is typed
  if (!other.validity.valid || $('from').value > $('to').value) other.value = changed.value;
  goDays({from: $('from').value, to: $('to').value});
}

// goDays changes the days, and the interval if there would be too many buckets.
function goDays({from, to}) {
  const days = (new Date(to) - new Date(from)) / (24 * 3600e3) + 1;
  let interval = $('interval').value;
  if (interval === 'hour' && days * 24 > maxBuckets) interval = 'day';
  if (interval === 'day' && days > maxBuckets) interval = 'week';
  go({from, to, interval: interval === 'day' ? null : interval});
}

// quickRange returns the days of a button, relative to today in the report's time zone.
function quickRange(name) {
  const today = new Date(report?.today ?? new Date().toISOString().slice(0, 10));
  const day = (months, date) => new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + months, date));
  let from, to = today;
  if (name === 'month') from = day(0, 1);
  else if (name === 'before') [from, to] = [day(-1, 1), day(0, 0)];
  else from = day(0, today.getUTCDate() + 1 - name);
  return {from: from.toISOString().slice(0, 10), to: to.toISOString().slice(0, 10)};
}

// load requests the report of the URL and shows it.
async function load(then) {
  request.abort();
  searching.abort();
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

// wanted returns the parameters of the request to the server.
function wanted() {
  return new URLSearchParams([...parameters()].filter(([name]) => queryParameters.includes(name)));
}

async function fetchReport(p, signal) {
  // A redirect leads to a login, perhaps on another site, so it is not followed. The URL is
  // absolute and without user information, with which fetch fails.
  const url = new URL('report.json?' + p, location.origin + location.pathname);
  const response = await fetch(url, {signal, redirect: 'manual', headers: {Accept: 'application/json'}});
  const isJSON = response.headers.get('Content-Type')?.startsWith('application/json');
  if (response.type === 'opaqueredirect' || response.status === 401 || response.status === 403 || response.ok && !isJSON) {
    throw Object.assign(new Error(text.signIn), {signedOut: true});
  }
  if (response.ok) return response.json();
  if (response.status === 400 && isJSON) {
    throw Object.assign(new Error(text.refused), {detail: (await response.json()).error});
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
  $('report').hidden = true; // it belongs to another query
  $('range').textContent = '';
}

// showControls sets the controls to the URL.
function showControls() {
  const p = parameters();
  $('interval').value = p.get('interval') ?? 'day';
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
  $('scenes').hidden = nothing && report.unattributed.new_followers === 0 && report.unattributed.unfollows === 0;
  if (!nothing) drawCharts(report, p.has('scene'));
  $('more').hidden = report.omitted_scenes === 0;
  $('more').textContent = text.more(number(report.scenes.length), number(report.omitted_scenes));
  $('zone').textContent = text.zone(report.zone);
  showWords();
}

function dayBefore(time) {
  const day = new Date(time.slice(0, 10));
  day.setUTCDate(day.getUTCDate() - 1);
  return day.toISOString().slice(0, 10);
}

// showAlone shows the selected scenes and a link to all.
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
    card(text.uniqueUsers, number(total.unique_users)),
    card(text.unfollows, number(total.unfollows)),
    ...total.retention.map(s => card(text.retained(s.days), share(s), s.cohort > 0 ? text.partOf(number(s.retained), number(s.cohort)) : text.tooRecent)),
  );
}

function showWords() {
  const parts = [];
  for (const name of ['scans', 'newFollowers', 'uniqueUsers', 'unfollows', 'retention']) {
    const term = document.createElement('dt'), meaning = document.createElement('dd');
    term.textContent = text[name];
    meaning.textContent = text.meaning[name];
    parts.push(term, meaning);
  }
  $('words').replaceChildren(...parts);
}

// changeSearch filters the table. It adds no history entry.
function changeSearch() {
  history.replaceState(null, '', address({search: $('search').value}));
  showControls();
  if ($('main').getAttribute('aria-busy') === 'true') return; // load shows the table
  searching.abort();
  searching = new AbortController();
  const {signal} = searching;
  showFound(signal).catch(error => { if (!signal.aborted) showError(error); });
}

// showFound shows the rows that match the search. The server searches if the report
// omits scenes.
async function showFound(signal) {
  const search = $('search').value.toLowerCase();
  let scenes = report.scenes;
  if (search && report.omitted_scenes > 0) {
    $('count').textContent = text.searching;
    const p = wanted();
    p.set('search', $('search').value);
    scenes = (await fetchReport(p, signal)).scenes;
  }
  showScenes(scenes, report.unattributed, {
    href: scene => address({scene}),
    open: (event, scene) => navigate(event, {scene}, () => focus($('alone-title'))),
    sort: parameters().get('sort'),
    sorted: sort => history.replaceState(null, '', address({sort})),
  });
  const shown = showRows(s => [s.scene, s.name, s.group].some(t => t.toLowerCase().includes(search)));
  $('count').textContent = shown || !search ? text.count(number(shown), number(report.scenes.length + report.omitted_scenes)) : text.noMatch;
}

function linkOf(scene) {
  return [...document.querySelectorAll('#table tbody a')].find(a => new URL(a.href).searchParams.get('scene') === scene);
}

function focus(element) {
  if (element.tabIndex < 0) element.tabIndex = -1; // to make a heading focusable
  element.focus();
}

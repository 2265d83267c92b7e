// The table of scenes. Its rows are created once, then sorted and filtered.

import {text, number, share, collator} from './text.js';

const table = document.getElementById('table');
const columns = [
  {id: 'scene', title: text.scene, value: s => s.name || s.scene, isText: true},
  {id: 'group', title: text.group, value: s => s.group, isText: true},
  {id: 'scans', title: text.scans, value: s => s.scans},
  {id: 'new_followers', title: text.newFollowers, value: s => s.new_followers},
  {id: 'unique_users', title: text.uniqueUsers, value: s => s.unique_users},
  {id: 'unfollows', title: text.unfollows, value: s => s.unfollows},
  ...[1, 7, 30].map((days, i) => ({
    id: 'retention_' + days,
    title: text.retained(days),
    value: s => s.retention[i].cohort ? s.retention[i].retained / s.retention[i].cohort : null,
    write: s => share(s.retention[i]),
    hint: s => text.partOf(number(s.retention[i].retained), number(s.retention[i].cohort)),
  })),
];

let rows = []; // {scene, row}, in the order of the table
let matches = () => true; // the search
let order; // {column, down}

// nameOf returns the display name of a scene.
export const nameOf = s => s.name || s.scene || text.noName;

// showScenes creates the rows. links has href and open for a scene, the initial sort,
// and sorted, which is called when the sort changes.
export function showScenes(scenes, unattributed, links) {
  order = readSort(links.sort);
  table.tHead.rows[0].replaceChildren(...columns.map(c => headerCell(c, links.sorted)));
  rows = scenes.map(scene => ({scene, row: sceneRow(scene, links)}));
  table.tFoot.replaceChildren(...(unattributed.new_followers || unattributed.unfollows ? [unattributedRow(unattributed)] : []));
  sortRows();
}

// showRows shows the scenes that match and returns their number.
export function showRows(test) {
  matches = test;
  const shown = rows.filter(r => matches(r.scene));
  table.tBodies[0].replaceChildren(...shown.map(r => r.row));
  return shown.length;
}

// A sort is the name of a column, with a leading minus for descending order.
function readSort(sort) {
  const down = !sort || sort.startsWith('-');
  const column = columns.find(c => c.id === sort?.replace('-', ''));
  return column ? {column, down} : {column: columns[2], down: true};
}

function headerCell(column, sorted) {
  const cell = document.createElement('th');
  cell.scope = 'col';
  cell.className = column.isText ? '' : 'number';
  cell.dataset.column = column.id;
  const button = cell.appendChild(document.createElement('button'));
  button.type = 'button';
  button.textContent = column.title;
  button.onclick = () => {
    order = {column, down: order.column === column ? !order.down : !column.isText}; // numbers: descending first
    sorted((order.down ? '-' : '') + column.id);
    sortRows();
    showRows(matches);
  };
  return cell;
}

function sortRows() {
  for (const cell of table.tHead.rows[0].cells) {
    cell.ariaSort = cell.dataset.column !== order.column.id ? null : order.down ? 'descending' : 'ascending';
  }
  rows.sort((a, b) => compare(a.scene, b.scene) || b.scene.scans - a.scene.scans || collator.compare(a.scene.scene, b.scene.scene));
}

// compare sorts missing values last, in both directions.
function compare(a, b) {
  const {column, down} = order;
  const [x, y] = [column.value(a), column.value(b)];
  const none = v => v === null || v === '';
  if (none(x) || none(y)) return none(x) - none(y);
  const up = column.isText ? collator.compare(x, y) : x - y;
  return down ? -up : up;
}

function sceneRow(scene, links) {
  const row = document.createElement('tr');
  const head = row.appendChild(document.createElement('th'));
  head.scope = 'row';
  const link = head.appendChild(document.createElement('a'));
  link.href = links.href(scene.scene);
  link.onclick = event => links.open(event, scene.scene);
  link.append(line('bdi', nameOf(scene)));
  if (scene.name) head.append(line('small', scene.scene));
  const group = row.insertCell();
  group.append(line('bdi', scene.group));
  numberCells(row, scene);
  return row;
}

// line returns an element with untrusted text on one line, with isolated direction. A
// long text is also shown as a tooltip.
function line(tag, content) {
  const e = document.createElement(tag);
  e.dir = 'auto';
  e.className = 'line';
  e.textContent = content;
  if (content.length > 24) e.title = content;
  return e;
}

function unattributedRow(unattributed) {
  const row = document.createElement('tr');
  const head = row.appendChild(document.createElement('th'));
  head.scope = 'row';
  head.textContent = text.unattributed;
  row.insertCell();
  numberCells(row, unattributed);
  return row;
}

function numberCells(row, counts) {
  for (const column of columns.filter(c => !c.isText)) {
    const cell = row.insertCell();
    cell.className = 'number';
    cell.textContent = column.write ? column.write(counts) : number(column.value(counts));
    if (column.hint) cell.title = column.hint(counts);
  }
}

// The table of scenes: its rows are made once, then sorted and filtered as they are.

import {text, number, share, collator} from './text.js';

const table = document.getElementById('table');
const columns = [
  {id: 'scene', title: text.scene, value: s => s.name || s.scene, isText: true},
  {id: 'group', title: text.group, value: s => s.group, isText: true},
  {id: 'scans', title: text.scans, value: s => s.scans},
  {id: 'new_followers', title: text.newFollowers, value: s => s.new_followers},
  {id: 'people', title: text.people, value: s => s.people},
  {id: 'lost', title: text.lost, value: s => s.lost},
  ...[1, 7, 30].map((days, i) => ({
    id: 'stayed_' + days,
    title: text.stayed(days),
    value: s => s.stayed[i].of ? s.stayed[i].stayed / s.stayed[i].of : null,
    write: s => share(s.stayed[i]),
    hint: s => text.partOf(number(s.stayed[i].stayed), number(s.stayed[i].of)),
  })),
];

let rows = []; // {scene, row}, in the order of the table
let keep = () => true; // what the search leaves
let order; // {column, down}

// nameOf returns what a scene is called.
export const nameOf = s => s.name || s.scene || text.noName;

// showScenes makes the rows. Links is what they do: href and open of a scene, the sort to
// begin with and sorted, which is told of each other.
export function showScenes(scenes, other, links) {
  order = readSort(links.sort);
  table.tHead.rows[0].replaceChildren(...columns.map(c => headerCell(c, links.sorted)));
  rows = scenes.map(scene => ({scene, row: sceneRow(scene, links)}));
  table.tFoot.replaceChildren(...(other.new_followers || other.lost ? [otherRow(other)] : []));
  sortRows();
}

// showRows shows the scenes that a test leaves, and returns how many these are.
export function showRows(test) {
  keep = test;
  const left = rows.filter(r => keep(r.scene));
  table.tBodies[0].replaceChildren(...left.map(r => r.row));
  return left.length;
}

// A sort is a column's name, after a minus if the largest come first.
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
    order = {column, down: order.column === column ? !order.down : !column.isText}; // numbers: the largest first
    sorted((order.down ? '-' : '') + column.id);
    sortRows();
    showRows(keep);
  };
  return cell;
}

function sortRows() {
  for (const cell of table.tHead.rows[0].cells) {
    cell.ariaSort = cell.dataset.column !== order.column.id ? null : order.down ? 'descending' : 'ascending';
  }
  rows.sort((a, b) => compare(a.scene, b.scene) || b.scene.scans - a.scene.scans || collator.compare(a.scene.scene, b.scene.scene));
}

// compare puts what has no value last, in both directions.
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

// line holds a text of anybody's on one line, isolated from what is around it; what does
// not fit shows under the pointer, and where the scene is shown alone.
function line(tag, content) {
  const e = document.createElement(tag);
  e.dir = 'auto';
  e.className = 'line';
  e.textContent = content;
  if (content.length > 24) e.title = content;
  return e;
}

function otherRow(other) {
  const row = document.createElement('tr');
  const head = row.appendChild(document.createElement('th'));
  head.scope = 'row';
  head.textContent = text.other;
  row.insertCell();
  numberCells(row, other);
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

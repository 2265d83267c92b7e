// The two charts, and tables with the same numbers.

import {text, number, percent, share, shortTime, longTime, firstDay, lastDay, isolated} from './text.js';
import {nameOf} from './table.js';

const $ = id => document.getElementById(id);
const still = matchMedia('(prefers-reduced-motion: reduce)');
const dark = matchMedia('(prefers-color-scheme: dark)');

// The lines differ in dashes and points too, not only in color.
const lines = [
  {id: 'scans', name: text.scans, dash: [], point: 'circle'},
  {id: 'new_followers', name: text.newFollowers, dash: [], point: 'rect'},
  {id: 'unique_users', name: text.uniqueUsers, dash: [6, 3], point: 'triangle'},
  {id: 'unfollows', name: text.unfollows, dash: [2, 3], point: 'rectRot'},
];
const maxBars = 10;
const hidden = new Set(); // ids of lines
let charts = [], last;

dark.addEventListener('change', () => { if (last) drawCharts(...last); });

// drawCharts draws a report. With isAlone, the bars are those of the selected scenes.
export function drawCharts(report, isAlone) {
  last = [report, isAlone];
  for (const chart of charts) chart.destroy();
  setDefaults();
  charts = [drawTime(report), drawRetention(retentionRows(report, isAlone))];
  showLineButtons(charts[0]);
}

const color = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

function setDefaults() {
  const d = Chart.defaults;
  d.animation = still.matches ? false : {duration: 300};
  d.maintainAspectRatio = false;
  d.font.family = getComputedStyle(document.body).fontFamily;
  d.color = color('soft');
  d.borderColor = color('line');
  d.plugins.legend.display = false; // the page has its own, accessible by keyboard
  Object.assign(d.plugins.tooltip, {
    backgroundColor: color('ink'), titleColor: color('paper'), bodyColor: color('paper'),
    padding: 10, cornerRadius: 6, boxPadding: 4, usePointStyle: true,
  });
}

// A bucket that is not over yet is incomplete. It is a hollow point, to which no line is
// drawn; buckets that have not begun are not drawn.
const isIncomplete = (report, bucket) => Date.parse(bucket.end) > Date.parse(report.now);
const isFuture = (report, bucket) => Date.parse(bucket.start) > Date.parse(report.now);

function drawTime({interval, buckets, ...report}) {
  const incomplete = buckets.map(b => isIncomplete(report, b));
  const time = (b, i) => incomplete[i] ? text.incomplete(longTime(b, interval)) : longTime(b, interval);
  const chart = new Chart($('time'), {
    type: 'line',
    data: {
      labels: buckets.map(b => shortTime(b, interval)),
      datasets: lines.map(l => ({
        label: l.name,
        data: buckets.map(b => isFuture(report, b) ? null : b[l.id]),
        segment: {borderColor: c => incomplete[c.p1DataIndex] ? 'transparent' : undefined},
        hidden: hidden.has(l.id),
        borderColor: color(l.id), backgroundColor: color(l.id),
        borderWidth: 2, borderDash: l.dash,
        pointStyle: l.point, pointHoverRadius: 5,
        pointRadius: c => incomplete[c.dataIndex] ? 4 : buckets.length > 45 ? 0 : 3,
        pointBackgroundColor: c => color(incomplete[c.dataIndex] ? 'paper' : l.id),
      })),
    },
    options: {
      interaction: {mode: 'index', intersect: false},
      scales: {
        x: {grid: {display: false}, ticks: {maxRotation: 0, autoSkipPadding: 16}},
        y: {beginAtZero: true, border: {display: false}, ticks: {precision: 0, callback: number, maxTicksLimit: 7}},
      },
      plugins: {tooltip: {callbacks: {
        title: items => time(buckets[items[0].dataIndex], items[0].dataIndex),
        label: item => ` ${item.dataset.label}: ${number(item.raw)}`,
      }}},
    },
  });
  $('time').setAttribute('aria-label', describeTime(report, interval, buckets));
  showNumbers('time-numbers', [text.start, ...lines.map(l => l.name)],
    () => buckets.map((b, i) => [time(b, i), ...lines.map(l => isFuture(report, b) ? '–' : number(b[l.id]))]));
  const current = buckets[incomplete.indexOf(true)];
  $('incomplete').hidden = !current;
  $('incomplete').textContent = current ? text.notOver(longTime(current, interval)) : '';
  return chart;
}

function describeTime(report, interval, buckets) {
  const parts = lines.map(l => {
    const most = buckets.reduce((a, b) => b[l.id] > a[l.id] ? b : a, buckets[0]);
    return text.timePart(l.name, number(report.total[l.id]), number(most[l.id]), longTime(most, interval));
  });
  return text.timeChart(firstDay(report), lastDay(report), parts);
}

// The buttons are the legend of the chart; they show and hide its lines.
function showLineButtons(chart) {
  $('lines').replaceChildren(...lines.map((l, i) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = l.name;
    button.dataset.line = l.id;
    button.setAttribute('aria-pressed', !hidden.has(l.id));
    button.onclick = () => {
      if (!hidden.delete(l.id)) hidden.add(l.id);
      button.setAttribute('aria-pressed', !hidden.has(l.id));
      chart.setDatasetVisibility(i, !hidden.has(l.id));
      chart.update();
    };
    return button;
  }));
}

// retentionRows returns the rows of the bars: the scenes with the most new followers, after
// the total.
function retentionRows(report, isAlone) {
  const scenes = report.scenes.filter(s => isAlone || s.retention[0].cohort > 0)
    .sort((a, b) => b.new_followers - a.new_followers)
    .slice(0, maxBars)
    .map(s => ({name: nameOf(s), retention: s.retention}));
  return isAlone && scenes.length > 0 ? scenes : [{name: text.total, retention: report.total.retention}, ...scenes];
}

function drawRetention(rows) {
  $('retention').parentElement.style.height = `${Math.max(120, 60 + 34 * rows.length)}px`;
  const days = rows[0].retention.map(s => s.days);
  const chart = new Chart($('retention'), {
    type: 'bar',
    data: {
      labels: rows.map(r => isolated(shorten(r.name))),
      datasets: days.map((d, i) => ({
        label: text.retained(d),
        data: rows.map(r => r.retention[i].cohort ? r.retention[i].retained / r.retention[i].cohort : null),
        backgroundColor: color('retention-' + d),
        borderRadius: 2, maxBarThickness: 16, categoryPercentage: 0.8, barPercentage: 0.9,
      })),
    },
    options: {
      indexAxis: 'y',
      interaction: {mode: 'index', axis: 'y', intersect: false},
      scales: {
        x: {min: 0, max: 1, border: {display: false}, ticks: {callback: percent, maxTicksLimit: 6, maxRotation: 0}},
        y: {grid: {display: false}, ticks: {autoSkip: false}},
      },
      plugins: {tooltip: {callbacks: {
        title: items => isolated(shorten(rows[items[0].dataIndex].name, 40)),
        label: item => {
          const r = rows[item.dataIndex].retention[item.datasetIndex];
          return ` ${item.dataset.label}: ${share(r)} (${text.partOf(number(r.retained), number(r.cohort))})`;
        },
      }}},
    },
  });
  showRetentionLegend(days);
  const values = r => r.retention.map(s => `${text.retained(s.days)} ${share(s)}`);
  $('retention').setAttribute('aria-label', text.retentionChart(rows.map(r => text.retentionPart(isolated(shorten(r.name, 40)), values(r)))));
  showNumbers('retention-numbers', [text.scene, ...days.map(text.retained)],
    () => rows.map(r => [r.name, ...r.retention.map(s => `${share(s)} (${text.partOf(number(s.retained), number(s.cohort))})`)]));
  return chart;
}

function showRetentionLegend(days) {
  $('retention-legend').replaceChildren(...days.map(d => {
    const item = document.createElement('span');
    item.dataset.line = 'retention-' + d;
    item.textContent = text.retained(d);
    return item;
  }));
}

// shorten truncates a text at a grapheme boundary.
function shorten(s, most = 14) {
  const letters = [...new Intl.Segmenter().segment(s.slice(0, 20 * most))];
  if (letters.length <= most) return s;
  return letters.slice(0, most - 1).map(l => l.segment).join('') + '…';
}

// showNumbers creates the table of a chart when it is opened: it may have thousands of rows.
function showNumbers(id, head, body) {
  const details = $(id);
  const make = () => {
    if (!details.open) return;
    const table = document.createElement('table');
    const fill = (row, cells, firstScope) => cells.forEach((content, i) => {
      const cell = row.appendChild(document.createElement(i && firstScope === 'row' ? 'td' : 'th'));
      if (cell.tagName === 'TH') cell.scope = firstScope;
      cell.className = i ? 'number' : '';
      cell.appendChild(document.createElement('bdi')).textContent = content;
    });
    fill(table.createTHead().insertRow(), head, 'col');
    const rows = table.createTBody();
    for (const cells of body()) fill(rows.insertRow(), cells, 'row');
    details.querySelector('.scroll').replaceChildren(table);
  };
  details.ontoggle = make;
  make();
}

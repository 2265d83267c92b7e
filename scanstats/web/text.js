// The texts of the page in English and Chinese, and the formats of numbers and dates.

const english = {
  title: 'Scan statistics',
  skip: 'Skip to the report',
  csv: 'Export CSV',
  controls: 'Filters',
  quick: 'Date range',
  last7: '7 days', last30: '30 days', last90: '90 days', thisMonth: 'This month', lastMonth: 'Last month',
  from: 'From', to: 'To',
  interval: 'Interval', hour: 'Hours', day: 'Days', week: 'Weeks', month: 'Months',
  group: 'Group', allGroups: 'All groups',
  search: 'Search scenes',
  loading: 'Loading…',
  failed: 'The report could not be loaded.',
  refused: 'The server rejected the request:',
  retry: 'Retry',
  signIn: 'Your session has expired. Please sign in again.',
  reload: 'Sign in again',
  onlyScene: 'Only', allScenes: 'Show all scenes',
  totals: 'Totals',
  scans: 'Scans', newFollowers: 'New followers', uniqueUsers: 'Unique users', unfollows: 'Unfollows',
  retained: days => `D${days} retention`,
  partOf: (part, all) => `${part} of ${all}`,
  tooRecent: 'not known yet',
  empty: 'No scans in this period.',
  overTime: 'Over time', lines: 'Lines of the chart', numbers: 'Show the numbers',
  retention: 'Retention', total: 'All scenes',
  timeChart: (from, to, parts) => `Line chart from ${from} to ${to}. ${parts.join('; ')}.`,
  timePart: (name, total, most, when) => `${name}: ${total}, most ${most} (${when})`,
  retentionChart: parts => `Bar chart of the retention of new followers. ${parts.join('; ')}.`,
  retentionPart: (name, values) => `${name}: ${values.join(', ')}`,
  start: 'Start',
  incomplete: time => `${time} (incomplete)`,
  notOver: time => `${time} is not over yet: its numbers are incomplete.`,
  scenes: 'Scenes', scene: 'Scene', caption: 'Counts by scene. The buttons in the header sort the table; the link of a scene shows only that scene.',
  noName: '(empty)',
  count: (shown, all) => shown === all ? `${all} ${all === '1' ? 'scene' : 'scenes'}` : `${shown} of ${all} scenes`,
  noMatch: 'No scene matches the search.',
  searching: 'Searching…',
  more: (shown, more) => `The ${shown} scenes with the most scans are listed; the totals include ${more} more. Search or export CSV to see all.`,
  unattributed: 'Unattributed',
  words: 'Definitions',
  meaning: {
    scans: 'Scans of codes by new and existing followers.',
    newFollowers: 'Follows through a code.',
    uniqueUsers: 'Users who scanned, each counted once.',
    unfollows: 'Unfollows in this period, counted for the scene of the follow.',
    retention: 'The share of new followers who still followed after 1, 7 and 30 days (D1, D7, D30) of 24 hours. Followers for whom this is not known yet are not included.',
  },
  zone: zone => `Days and hours are in the time zone ${zone}.`,
};

const chinese = {
  title: '扫码统计',
  skip: '跳到报表',
  csv: '导出 CSV',
  controls: '筛选条件',
  quick: '时间范围',
  last7: '近 7 天', last30: '近 30 天', last90: '近 90 天', thisMonth: '本月', lastMonth: '上月',
  from: '开始日期', to: '结束日期',
  interval: '时间粒度', hour: '按小时', day: '按天', week: '按周', month: '按月',
  group: '分组', allGroups: '全部分组',
  search: '搜索渠道',
  loading: '加载中…',
  failed: '报表加载失败。',
  refused: '服务器拒绝了此请求：',
  retry: '重试',
  signIn: '登录已失效，请重新登录。',
  reload: '重新登录',
  onlyScene: '仅看渠道', allScenes: '查看全部渠道',
  totals: '汇总',
  scans: '扫码次数', newFollowers: '新增关注', uniqueUsers: '扫码人数', unfollows: '取消关注',
  retained: days => `${days} 日留存`,
  partOf: (part, all) => `${part} / ${all} 人`,
  tooRecent: '关注时间不足',
  empty: '所选日期内没有扫码数据。',
  overTime: '趋势', lines: '图表中的指标', numbers: '查看数据',
  retention: '留存率', total: '全部渠道',
  timeChart: (from, to, parts) => `${from}至${to}的折线图。${parts.join('；')}。`,
  timePart: (name, total, most, when) => `${name}共 ${total}，最高 ${most}（${when}）`,
  retentionChart: parts => `新增关注留存率柱状图。${parts.join('；')}。`,
  retentionPart: (name, values) => `${name}：${values.join('，')}`,
  start: '时间',
  incomplete: time => `${time}（未结束）`,
  notOver: time => `${time}尚未结束，数据不完整。`,
  scenes: '渠道明细', scene: '渠道', caption: '各渠道数据。点击表头可排序，点击渠道可单独查看。',
  noName: '（空）',
  count: (shown, all) => shown === all ? `共 ${all} 个渠道` : `${shown} / ${all} 个渠道`,
  noMatch: '没有符合条件的渠道。',
  searching: '搜索中…',
  more: (shown, more) => `仅列出扫码次数最多的 ${shown} 个渠道，另有 ${more} 个未列出（已计入汇总）。可通过搜索查找，或导出 CSV 查看全部。`,
  unattributed: '非扫码关注',
  words: '指标说明',
  meaning: {
    scans: '渠道二维码被扫描的次数，含新关注用户和已关注用户。',
    newFollowers: '通过扫码新增的关注次数。',
    uniqueUsers: '扫码的去重人数，同一人多次扫码只计一次。',
    unfollows: '所选日期内取消关注的次数，归入当初带来该用户的渠道。',
    retention: '新增关注的用户在 1、7、30 天（每天按 24 小时计）后仍在关注的比例；关注时间不足的用户不计入。',
  },
  zone: zone => `日期和时间均为 ${zone} 时区。`,
};

const language = navigator.languages.find(l => /^(zh|en)\b/i.test(l)) ?? 'en';
const isChinese = /^zh/i.test(language);
const locale = isChinese ? 'zh-CN' : language;

export const text = isChinese ? chinese : english;

// writeWords fills the texts of the HTML.
export function writeWords() {
  document.documentElement.lang = locale;
  document.title = text.title;
  for (const e of document.querySelectorAll('[data-text]')) e.textContent = text[e.dataset.text];
  for (const e of document.querySelectorAll('[data-label]')) e.setAttribute('aria-label', text[e.dataset.label]);
  for (const e of document.querySelectorAll('[data-placeholder]')) e.placeholder = text[e.dataset.placeholder];
}

const numbers = new Intl.NumberFormat(locale);
const percents = new Intl.NumberFormat(locale, {style: 'percent'});
const shares = new Intl.NumberFormat(locale, {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1});

export const number = n => numbers.format(n);
export const percent = n => percents.format(n);

// share formats a Retention as a percentage, or – if the cohort is empty.
export const share = r => r.cohort ? shares.format(r.retained / r.cohort) : '–';

export const collator = new Intl.Collator(locale, {numeric: true});

// The times of the report have the offset of its time zone. Parsing the local part as
// UTC and formatting it as UTC shows the local time of that zone in every browser.
const wall = time => new Date(time.slice(0, 16) + 'Z');
const dayBefore = date => new Date(date.getTime() - 24 * 3600e3);
const writer = options => new Intl.DateTimeFormat(locale, {timeZone: 'UTC', ...options});
const month = isChinese ? 'long' : 'short'; // the short Chinese month is a number
const days = writer({day: 'numeric', month, year: 'numeric'});
const shorts = {
  hour: writer({day: 'numeric', month, hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}),
  day: writer({day: 'numeric', month}),
  week: writer({day: 'numeric', month}),
  month: writer({month, year: 'numeric'}),
};
const longs = {
  hour: writer({weekday: 'short', day: 'numeric', month, year: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}),
  day: writer({weekday: 'short', day: 'numeric', month, year: 'numeric'}),
};

// shortTime formats the start of a bucket, longTime the bucket.
export const shortTime = (bucket, interval) => shorts[interval].format(wall(bucket.start));
export function longTime(bucket, interval) {
  if (longs[interval]) return longs[interval].format(wall(bucket.start));
  return dayRange(bucket.start, bucket.end);
}

// dayRange formats the days from one time until before another.
export function dayRange(from, to) {
  const [first, last] = [wall(from), dayBefore(wall(to))];
  if (!isChinese) return days.formatRange(first, last);
  return [...new Set([first, last].map(days.format))].join('至'); // formatRange would write 2026/10/23
}
export const firstDay = report => days.format(wall(report.from));
export const lastDay = report => days.format(dayBefore(wall(report.to)));

// isolated isolates the text direction of untrusted text where <bdi> cannot be used,
// such as in a label.
export const isolated = s => '\u2068' + s + '\u2069';

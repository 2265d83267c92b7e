package scanstats

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report answers a query. It reads what was counted already and not the events: what it costs grows
// with the number of scenes times days, and not with that of scans or people.
//
// Errors: [ErrInvalidQuery]; [ErrClosed]; what kind of failure of the database it was, such as
// [ErrUnavailable].
func (s *Store) Report(ctx context.Context, q Query) (*Report, error) {
	r, err := s.report(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("scanstats: report: %w", explain(err))
	}
	return r, nil
}

func (s *Store) report(ctx context.Context, q Query) (*Report, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	now := s.now()
	z := *s.currentZone()
	span, err := q.span(z, now)
	if err != nil {
		return nil, err
	}
	tx, err := s.db.BeginTx(ctx, s.writer.dialect.snapshot())
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	b := &reporting{ctx: ctx, tx: tx, dialect: s.writer.dialect, query: q, span: span}
	for i, days := range retentionDays {
		// The last day whose followers all came long enough ago.
		b.told[i] = z.dayOf(now.Add(-time.Duration(days)*24*time.Hour)) - 1
	}
	if err := b.run(); err != nil {
		return nil, err
	}
	return b.report, nil
}

// A reporting is one report that is being made.
type reporting struct {
	ctx     context.Context
	tx      *sql.Tx
	dialect Dialect
	query   Query
	span    span
	told    [len(retentionDays)]day // whose followers' stay can be told

	report *Report
	scenes map[sceneID]*SceneReport // those that the query asks for
	all    SceneReport              // all scenes together
	none   SceneReport              // no scene
	ids    []sceneID                // of Report.Scenes, in their order
}

// run makes the report.
func (b *reporting) run() error {
	b.report = &Report{
		From: b.span.zone.start(b.span.from), To: b.span.zone.start(b.span.to + 1), By: b.span.by, Zone: b.span.zone.String(),
		Scenes: []SceneReport{}, Groups: []string{}, eachScene: b.query.EachScene,
	}
	if err := b.readScenes(); err != nil {
		return err
	}
	if err := b.readTotals(); err != nil {
		return err
	}
	if err := b.readPeople(); err != nil {
		return err
	}
	b.addUp()
	if err := b.chooseScenes(); err != nil {
		return err
	}
	if err := b.readBuckets(); err != nil {
		return err
	}
	for _, id := range b.ids {
		b.report.Scenes = append(b.report.Scenes, *b.scenes[id])
	}
	return nil
}

// isFiltered reports whether the query asks for some scenes only.
func (q Query) isFiltered() bool { return len(q.Scenes) > 0 || q.Group != "" || q.Search != "" }

// readScenes learns which scenes there are.
func (b *reporting) readScenes() error {
	r := b.report
	b.scenes = make(map[sceneID]*SceneReport)
	groups := make(map[string]bool)
	wanted := b.query.filter()
	var id sceneID
	var s SceneReport
	err := b.each("SELECT id, scene, name, label_group FROM scanstats_scene", nil, func() {
		if s.Group != "" && !groups[s.Group] {
			groups[s.Group] = true
			r.Groups = append(r.Groups, s.Group)
		}
		if wanted(s) {
			kept := s
			kept.Stayed = noStays()
			b.scenes[id] = &kept
		}
	}, &id, &s.Scene, &s.Name, &s.Group)
	slices.Sort(r.Groups)
	b.all.Stayed, b.none.Stayed = noStays(), noStays()
	return err
}

func noStays() (stays [len(retentionDays)]Stay) {
	for i, days := range retentionDays {
		stays[i].Days = days
	}
	return stays
}

// filter returns whether the query asks for a scene.
func (q Query) filter() func(SceneReport) bool {
	scenes := make(map[string]bool)
	for _, scene := range q.Scenes {
		scenes[clean(scene)] = true
	}
	search := strings.ToLower(q.Search)
	return func(s SceneReport) bool {
		return (len(scenes) == 0 || scenes[s.Scene]) && (q.Group == "" || q.Group == s.Group) &&
			(search == "" || strings.Contains(strings.ToLower(s.Scene+"\x00"+s.Name+"\x00"+s.Group), search))
	}
}

// target returns where the counts of a scene belong, or nil if nobody asks for them.
func (b *reporting) target(id sceneID) *SceneReport {
	switch id {
	case allScenes:
		return &b.all
	case noScene:
		return &b.none
	}
	return b.scenes[id]
}

// readTotals reads all counts but people, by scene.
func (b *reporting) readTotals() error {
	var statement strings.Builder
	statement.WriteString("SELECT scene, SUM(scans), SUM(new_followers), SUM(unfollows)")
	var args []any
	for i, days := range retentionDays {
		fmt.Fprintf(&statement, ", SUM(CASE WHEN day <= ? THEN new_followers ELSE 0 END), SUM(CASE WHEN day <= ? THEN new_followers - left_%d ELSE 0 END)", days)
		args = append(args, int64(b.told[i]), int64(b.told[i]))
	}
	statement.WriteString(" FROM scanstats_day WHERE day BETWEEN ? AND ? GROUP BY scene")
	args = append(args, int64(b.span.from), int64(b.span.to))
	var id sceneID
	var c Counts
	return b.each(statement.String(), args, func() {
		if s := b.target(id); s != nil {
			s.add(c)
		}
	}, append([]any{&id, &c.Scans, &c.NewFollowers, &c.Lost}, stayColumns(&c)...)...)
}

func stayColumns(c *Counts) (dest []any) {
	for i := range c.Stayed {
		dest = append(dest, &c.Stayed[i].Of, &c.Stayed[i].Stayed)
	}
	return dest
}

// add adds other counts, of other days or other scenes.
func (c *Counts) add(other Counts) {
	c.Scans += other.Scans
	c.NewFollowers += other.NewFollowers
	c.People += other.People
	c.Lost += other.Lost
	for i, stay := range other.Stayed {
		c.Stayed[i].Of += stay.Of
		c.Stayed[i].Stayed += stay.Stayed
	}
}

// readPeople reads how many people scanned in the range, by scene: those whose visit before
// one in the range was before the range.
func (b *reporting) readPeople() error {
	var id sceneID
	var people int64
	return b.each("SELECT scene, SUM(users) FROM scanstats_unique WHERE day BETWEEN ? AND ? AND previous_day < ? GROUP BY scene",
		[]any{int64(b.span.from), int64(b.span.to), int64(b.span.from)}, func() {
			if s := b.target(id); s != nil {
				s.People = people
			}
		}, &id, &people)
}

// addUp makes the totals of what was read.
func (b *reporting) addUp() {
	r := b.report
	if !b.query.isFiltered() {
		r.Total, r.Other = b.all.Counts, b.none.Counts
		return
	}
	r.Total.Stayed, r.Other.Stayed = noStays(), noStays()
	for _, s := range b.scenes {
		r.Total.add(s.Counts)
	}
}

// chooseScenes takes the scenes that the report lists.
func (b *reporting) chooseScenes() error {
	for id, s := range b.scenes {
		if s.Scans != 0 || s.NewFollowers != 0 || s.Lost != 0 || s.Name != "" || s.Group != "" {
			b.ids = append(b.ids, id)
		}
	}
	slices.SortFunc(b.ids, func(x, y sceneID) int {
		a, c := b.scenes[x], b.scenes[y]
		return cmp.Or(cmp.Compare(c.Scans, a.Scans), cmp.Compare(c.NewFollowers, a.NewFollowers), cmp.Compare(a.Scene, c.Scene))
	})
	limit := cmp.Or(b.query.Limit, 1000)
	if limit > 0 && len(b.ids) > limit {
		b.report.More = len(b.ids) - limit
		b.ids = b.ids[:limit]
	}
	if cells := len(b.ids) * len(b.span.buckets); b.query.EachScene && cells > maxCells {
		return fmt.Errorf("%w: %d scenes with %d buckets each are %d, at most %d are allowed: ask for fewer scenes or days, or for a longer interval",
			ErrInvalidQuery, len(b.ids), len(b.span.buckets), cells, maxCells)
	}
	return nil
}

// readBuckets fills the time lines.
func (b *reporting) readBuckets() error {
	b.report.Buckets = b.emptyBuckets()
	total := map[sceneID][]Bucket{allScenes: b.report.Buckets}
	if !b.query.isFiltered() {
		if err := b.readLine(total, []sceneID{allScenes}, "scene"); err != nil {
			return err
		}
	} else {
		var ids []sceneID
		for id := range b.scenes {
			ids = append(ids, id)
		}
		if err := b.readLine(total, ids, "0"); err != nil {
			return err
		}
	}
	if !b.query.EachScene {
		return nil
	}
	lines := make(map[sceneID][]Bucket)
	for _, id := range b.ids {
		b.scenes[id].Buckets = b.emptyBuckets()
		lines[id] = b.scenes[id].Buckets
	}
	return b.readLine(lines, b.ids, "scene")
}

func (b *reporting) emptyBuckets() []Bucket {
	buckets := slices.Clone(b.span.buckets)
	for i := range buckets {
		buckets[i].Stayed = noStays()
	}
	return buckets
}

// readLine reads the counts of scenes into lines, by what the expression makes of a scene.
func (b *reporting) readLine(lines map[sceneID][]Bucket, ids []sceneID, line string) error {
	read := b.readDays
	if b.span.by == Hour {
		read = b.readHours
	}
	const most = 500 // in one statement
	for some := range slices.Chunk(ids, most) {
		if err := read(lines, some, line); err != nil {
			return err
		}
	}
	return nil
}

// in returns a condition on the scene.
func in(ids []sceneID) (condition string, args []any) {
	var list strings.Builder
	SQLite.placeholders(&list, 0, len(ids))
	for _, id := range ids {
		args = append(args, int64(id))
	}
	return "scene IN " + list.String(), args
}

func (b *reporting) readHours(lines map[sceneID][]Bucket, ids []sceneID, line string) error {
	index := make(map[int64]int, len(b.span.buckets))
	for i, bucket := range b.span.buckets {
		index[bucket.Start.Unix()] = i
	}
	condition, args := in(ids)
	first, end := b.span.buckets[0].Start.Unix(), b.span.buckets[len(b.span.buckets)-1].End.Unix()
	var id sceneID
	var start int64
	var c Counts
	return b.each("SELECT start, "+line+" AS line, SUM(scans), SUM(new_followers), SUM(unique_users), SUM(unfollows) FROM scanstats_hour WHERE start >= ? AND start < ? AND "+
		condition+" GROUP BY start, line", append([]any{first, end}, args...), func() {
		if i, ok := index[start]; ok {
			lines[id][i].add(c)
		}
	}, &start, &id, &c.Scans, &c.NewFollowers, &c.People, &c.Lost)
}

func (b *reporting) readDays(lines map[sceneID][]Bucket, ids []sceneID, line string) error {
	condition, sceneArgs := in(ids)
	var id sceneID
	var d day
	var c Counts
	var left [len(retentionDays)]int64
	err := b.each("SELECT day, "+line+" AS line, SUM(scans), SUM(new_followers), SUM(unique_users), SUM(unfollows), SUM(left_1), SUM(left_7), SUM(left_30) FROM scanstats_day WHERE day BETWEEN ? AND ? AND "+
		condition+" GROUP BY day, line", append([]any{int64(b.span.from), int64(b.span.to)}, sceneArgs...), func() {
		if b.span.by != Day {
			c.People = 0 // who came on two days of a week is one
		}
		for i := range left {
			c.Stayed[i] = Stay{}
			if d <= b.told[i] {
				c.Stayed[i] = Stay{Of: c.NewFollowers, Stayed: c.NewFollowers - left[i]}
			}
		}
		lines[id][b.span.bucket[d-b.span.from]].add(c)
	}, &d, &id, &c.Scans, &c.NewFollowers, &c.People, &c.Lost, &left[0], &left[1], &left[2])
	if err != nil || b.span.by == Day {
		return err
	}
	var people int64
	for i, bucket := range b.span.buckets {
		from, to := int64(b.span.zone.dayOf(bucket.Start)), int64(b.span.zone.dayOf(bucket.End))
		err := b.each("SELECT "+line+" AS line, SUM(users) FROM scanstats_unique WHERE day >= ? AND day < ? AND previous_day < ? AND "+condition+" GROUP BY line",
			append([]any{from, to, from}, sceneArgs...), func() {
				lines[id][i].People += people
			}, &id, &people)
		if err != nil {
			return err
		}
	}
	return nil
}

// each calls f for each row of the result, which it scans into dest.
func (b *reporting) each(statement string, args []any, f func(), dest ...any) error {
	rows, err := b.tx.QueryContext(b.ctx, b.dialect.sql(statement), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		f()
	}
	return rows.Err()
}

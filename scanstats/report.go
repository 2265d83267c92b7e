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

// A Report has the counts of a range of days.
type Report struct {
	From     time.Time `json:"from"` // the beginning of the first day
	To       time.Time `json:"to"`   // the beginning of the day after the last
	Interval Interval  `json:"interval"`
	Zone     string    `json:"zone"` // the name of the time zone

	Total         Counts        `json:"total"`        // of all scenes that the query selects
	Unattributed  Counts        `json:"unattributed"` // follows without a code and their unfollows; zero if the query selects some scenes only
	Buckets       []Bucket      `json:"buckets"`      // Total by interval, in order, without gaps
	Scenes        []SceneReport `json:"scenes"`
	OmittedScenes int           `json:"omitted_scenes"` // number of scenes beyond Query.Limit; Total includes them
	Groups        []string      `json:"groups"`         // all groups, sorted

	perScene bool // Query.PerScene
}

// Counts are the counts of a scene, or of several, in a period.
type Counts struct {
	Scans            int64 `json:"scans"`              // follows through a code, and scans by followers
	ScansByFollowers int64 `json:"scans_by_followers"` // scans by users who followed already
	// UniqueUsers are the users who scanned, each counted once. In a total, a user
	// counts once for all scenes together; in the total of a query that selects some
	// scenes only, once for each scene.
	UniqueUsers  int64 `json:"unique_users"`
	NewFollowers int64 `json:"new_followers"` // follows
	Unfollows    int64 `json:"unfollows"`     // counted for the scene of the follow
	NetFollowers int64 `json:"net_followers"` // NewFollowers - Unfollows
	// Retention has the new followers who still followed after 1, 7 and 30 days.
	Retention [3]Retention `json:"retention"`
}

// Retention is the number of new followers who still followed after some days. New
// followers for whom this is not known yet are in neither number.
type Retention struct {
	Days     int   `json:"days"`     // 1, 7 or 30, each of 24 hours
	Cohort   int64 `json:"cohort"`   // new followers who followed at least that long ago
	Retained int64 `json:"retained"` // of these, followers who had not unfollowed by then
}

// A Bucket has the counts of an hour, a day, a week or a month. The first and the
// last may be shorter, cut off by the range of the report.
type Bucket struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Counts
}

// A SceneReport has the counts of a scene.
type SceneReport struct {
	Scene string `json:"scene"`
	Name  string `json:"name"` // see [Store.Label]
	Group string `json:"group"`
	Counts
	Buckets []Bucket `json:"buckets,omitempty"` // if [Query.PerScene] is set
}

// add adds the counts of another period or scene.
func (c *Counts) add(o Counts) {
	c.Scans += o.Scans
	c.UniqueUsers += o.UniqueUsers
	c.NewFollowers += o.NewFollowers
	c.Unfollows += o.Unfollows
	c.NetFollowers = c.NewFollowers - c.Unfollows
	if c.Scans > 0 { // else these are follows without a code, which are not scans
		c.ScansByFollowers = c.Scans - c.NewFollowers
	}
	for i, r := range o.Retention {
		c.Retention[i].Cohort += r.Cohort
		c.Retention[i].Retained += r.Retained
	}
}

func emptyRetention() (r [len(retentionDays)]Retention) {
	for i, days := range retentionDays {
		r[i].Days = days
	}
	return r
}

// Report returns the counts that a query selects. It reads counts and not events:
// its cost grows with scenes times days, and not with scans or users.
//
// Errors: [ErrInvalidQuery]; [ErrClosed]; the kind of a database failure, such as
// [ErrUnavailable].
func (s *Store) Report(ctx context.Context, q Query) (*Report, error) {
	r, err := s.report(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("scanstats: report: %w", wrapDBError(err))
	}
	return r, nil
}

func (s *Store) report(ctx context.Context, q Query) (*Report, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	now := s.now()
	z := *s.currentZone()
	days, err := q.dayRange(z, now)
	if err != nil {
		return nil, err
	}
	tx, err := s.db.BeginTx(ctx, s.writer.dialect.snapshot())
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	b := &reportBuilder{ctx: ctx, tx: tx, dialect: s.writer.dialect, query: q, days: days}
	for i, days := range retentionDays {
		// The last day whose followers all followed long enough ago.
		b.maturedUntil[i] = z.dayOf(now.Add(-time.Duration(days)*24*time.Hour)) - 1
	}
	if err := b.build(); err != nil {
		return nil, err
	}
	return b.report, nil
}

// A reportBuilder builds one report in one transaction.
type reportBuilder struct {
	ctx          context.Context
	tx           *sql.Tx
	dialect      Dialect
	query        Query
	days         dayRange
	maturedUntil [len(retentionDays)]day // the last day whose retention is known

	report       *Report
	scenes       map[sceneID]*SceneReport // that the query selects
	all          SceneReport              // all scenes together
	unattributed SceneReport
	ids          []sceneID // of Report.Scenes, in their order
}

func (b *reportBuilder) build() error {
	b.report = &Report{
		From: b.days.zone.start(b.days.from), To: b.days.zone.start(b.days.to + 1), Interval: b.days.interval, Zone: b.days.zone.String(),
		Scenes: []SceneReport{}, Groups: []string{}, perScene: b.query.PerScene,
	}
	for _, step := range []func() error{b.readScenes, b.readTotals, b.readUniqueUsers, b.sumTotals, b.selectScenes, b.readBuckets} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, id := range b.ids {
		b.report.Scenes = append(b.report.Scenes, *b.scenes[id])
	}
	return nil
}

// readScenes reads the scenes that the query selects, and all groups.
func (b *reportBuilder) readScenes() error {
	r := b.report
	b.scenes = make(map[sceneID]*SceneReport)
	groups := make(map[string]bool)
	selected := b.query.filter()
	var id sceneID
	var s SceneReport
	err := b.each("SELECT id, scene, name, label_group FROM scanstats_scene", nil, func() {
		if s.Group != "" && !groups[s.Group] {
			groups[s.Group] = true
			r.Groups = append(r.Groups, s.Group)
		}
		if selected(s) {
			scene := s
			scene.Retention = emptyRetention()
			b.scenes[id] = &scene
		}
	}, &id, &s.Scene, &s.Name, &s.Group)
	slices.Sort(r.Groups)
	b.all.Retention, b.unattributed.Retention = emptyRetention(), emptyRetention()
	return err
}

// countsOf returns the report of a scene, or nil if the query does not select it.
func (b *reportBuilder) countsOf(id sceneID) *SceneReport {
	switch id {
	case allScenes:
		return &b.all
	case noScene:
		return &b.unattributed
	}
	return b.scenes[id]
}

// readTotals reads all counts by scene, except UniqueUsers.
func (b *reportBuilder) readTotals() error {
	var statement strings.Builder
	statement.WriteString("SELECT scene, SUM(scans), SUM(new_followers), SUM(unfollows)")
	var id sceneID
	var c Counts
	var args []any
	dest := []any{&id, &c.Scans, &c.NewFollowers, &c.Unfollows}
	for i, days := range retentionDays {
		fmt.Fprintf(&statement, ", SUM(CASE WHEN day <= ? THEN new_followers ELSE 0 END), SUM(CASE WHEN day <= ? THEN new_followers - unfollowed_%d ELSE 0 END)", days)
		args = append(args, int64(b.maturedUntil[i]), int64(b.maturedUntil[i]))
		dest = append(dest, &c.Retention[i].Cohort, &c.Retention[i].Retained)
	}
	statement.WriteString(" FROM scanstats_day WHERE day BETWEEN ? AND ? GROUP BY scene")
	args = append(args, int64(b.days.from), int64(b.days.to))
	return b.each(statement.String(), args, func() {
		if s := b.countsOf(id); s != nil {
			s.add(c)
		}
	}, dest...)
}

// readUniqueUsers reads the unique users by scene: see history.go.
func (b *reportBuilder) readUniqueUsers() error {
	var id sceneID
	var users int64
	return b.each("SELECT scene, SUM(users) FROM scanstats_unique WHERE day BETWEEN ? AND ? AND previous_day < ? GROUP BY scene",
		[]any{int64(b.days.from), int64(b.days.to), int64(b.days.from)}, func() {
			if s := b.countsOf(id); s != nil {
				s.UniqueUsers = users
			}
		}, &id, &users)
}

// sumTotals sets the totals of the report.
func (b *reportBuilder) sumTotals() error {
	r := b.report
	if !b.query.isFiltered() {
		r.Total, r.Unattributed = b.all.Counts, b.unattributed.Counts
		return nil
	}
	r.Total.Retention, r.Unattributed.Retention = emptyRetention(), emptyRetention()
	for _, s := range b.scenes {
		r.Total.add(s.Counts)
	}
	return nil
}

// selectScenes selects the scenes that the report lists.
func (b *reportBuilder) selectScenes() error {
	for id, s := range b.scenes {
		if s.Scans != 0 || s.NewFollowers != 0 || s.Unfollows != 0 || s.Name != "" || s.Group != "" {
			b.ids = append(b.ids, id)
		}
	}
	slices.SortFunc(b.ids, func(x, y sceneID) int {
		a, c := b.scenes[x], b.scenes[y]
		return cmp.Or(cmp.Compare(c.Scans, a.Scans), cmp.Compare(c.NewFollowers, a.NewFollowers), cmp.Compare(a.Scene, c.Scene))
	})
	limit := cmp.Or(b.query.Limit, 1000)
	if limit > 0 && len(b.ids) > limit {
		b.report.OmittedScenes = len(b.ids) - limit
		b.ids = b.ids[:limit]
	}
	if cells := len(b.ids) * len(b.days.buckets); b.query.PerScene && cells > maxCells {
		return fmt.Errorf("%w: %d scenes with %d buckets each are %d; at most %d are allowed: select fewer scenes or days, or a longer interval",
			ErrInvalidQuery, len(b.ids), len(b.days.buckets), cells, maxCells)
	}
	return nil
}

// readBuckets reads the buckets of the total and, with Query.PerScene, of each
// scene.
func (b *reportBuilder) readBuckets() error {
	b.report.Buckets = b.emptyBuckets()
	total := map[sceneID][]Bucket{allScenes: b.report.Buckets}
	if !b.query.isFiltered() {
		if err := b.readSeries(total, []sceneID{allScenes}, "scene"); err != nil {
			return err
		}
	} else {
		var ids []sceneID
		for id := range b.scenes {
			ids = append(ids, id)
		}
		if err := b.readSeries(total, ids, "0"); err != nil {
			return err
		}
	}
	if !b.query.PerScene {
		return nil
	}
	series := make(map[sceneID][]Bucket)
	for _, id := range b.ids {
		b.scenes[id].Buckets = b.emptyBuckets()
		series[id] = b.scenes[id].Buckets
	}
	return b.readSeries(series, b.ids, "scene")
}

func (b *reportBuilder) emptyBuckets() []Bucket {
	buckets := slices.Clone(b.days.buckets)
	for i := range buckets {
		buckets[i].Retention = emptyRetention()
	}
	return buckets
}

// readSeries adds the counts of scenes to series, whose keys are the values of the
// SQL expression key.
func (b *reportBuilder) readSeries(series map[sceneID][]Bucket, ids []sceneID, key string) error {
	read := b.readDays
	if b.days.interval == Hour {
		read = b.readHours
	}
	const maxIDs = 500 // in one statement
	for chunk := range slices.Chunk(ids, maxIDs) {
		if err := read(series, chunk, key); err != nil {
			return err
		}
	}
	return nil
}

// sceneIn returns a condition on the scene, and its arguments.
func sceneIn(ids []sceneID) (condition string, args []any) {
	var list strings.Builder
	SQLite.placeholders(&list, 0, len(ids))
	for _, id := range ids {
		args = append(args, int64(id))
	}
	return "scene IN " + list.String(), args
}

func (b *reportBuilder) readHours(series map[sceneID][]Bucket, ids []sceneID, key string) error {
	index := make(map[int64]int, len(b.days.buckets))
	for i, bucket := range b.days.buckets {
		index[bucket.Start.Unix()] = i
	}
	condition, args := sceneIn(ids)
	first, end := b.days.buckets[0].Start.Unix(), b.days.buckets[len(b.days.buckets)-1].End.Unix()
	var id sceneID
	var start int64
	var c Counts
	return b.each("SELECT start, "+key+" AS series, SUM(scans), SUM(new_followers), SUM(unique_users), SUM(unfollows) FROM scanstats_hour WHERE start >= ? AND start < ? AND "+
		condition+" GROUP BY start, series", append([]any{first, end}, args...), func() {
		if i, ok := index[start]; ok {
			series[id][i].add(c)
		}
	}, &start, &id, &c.Scans, &c.NewFollowers, &c.UniqueUsers, &c.Unfollows)
}

func (b *reportBuilder) readDays(series map[sceneID][]Bucket, ids []sceneID, key string) error {
	condition, sceneArgs := sceneIn(ids)
	var id sceneID
	var d day
	var c Counts
	var unfollowed [len(retentionDays)]int64
	err := b.each("SELECT day, "+key+" AS series, SUM(scans), SUM(new_followers), SUM(unique_users), SUM(unfollows), SUM(unfollowed_1), SUM(unfollowed_7), SUM(unfollowed_30) FROM scanstats_day WHERE day BETWEEN ? AND ? AND "+
		condition+" GROUP BY day, series", append([]any{int64(b.days.from), int64(b.days.to)}, sceneArgs...), func() {
		if b.days.interval != Day {
			c.UniqueUsers = 0 // not the sum of the days; read below
		}
		for i := range unfollowed {
			c.Retention[i] = Retention{}
			if d <= b.maturedUntil[i] {
				c.Retention[i] = Retention{Cohort: c.NewFollowers, Retained: c.NewFollowers - unfollowed[i]}
			}
		}
		series[id][b.days.bucket[d-b.days.from]].add(c)
	}, &d, &id, &c.Scans, &c.NewFollowers, &c.UniqueUsers, &c.Unfollows, &unfollowed[0], &unfollowed[1], &unfollowed[2])
	if err != nil || b.days.interval == Day {
		return err
	}
	var users int64
	for i, bucket := range b.days.buckets {
		from, to := int64(b.days.zone.dayOf(bucket.Start)), int64(b.days.zone.dayOf(bucket.End))
		err := b.each("SELECT "+key+" AS series, SUM(users) FROM scanstats_unique WHERE day >= ? AND day < ? AND previous_day < ? AND "+condition+" GROUP BY series",
			append([]any{from, to, from}, sceneArgs...), func() {
				series[id][i].UniqueUsers += users
			}, &id, &users)
		if err != nil {
			return err
		}
	}
	return nil
}

// each scans each row of the result into dest and calls f.
func (b *reportBuilder) each(statement string, args []any, f func(), dest ...any) error {
	rows, err := b.tx.QueryContext(b.ctx, b.dialect.sql(statement), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		f()
	}
	return rows.Err()
}

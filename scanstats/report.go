package scanstats

import "time"

// An Interval is how long a [Bucket] is.
type Interval string

// The intervals: days begin in the time zone of [Store.Location], weeks on Monday.
const (
	Hour  Interval = "hour"
	Day   Interval = "day"
	Week  Interval = "week"
	Month Interval = "month"
)

// A Query says what a [Report] is about. Its zero value asks for the last 30 days, today
// included, by day.
//
// It may ask for at most [MaxDays] days, none before 2 January 1970, and 1,500 buckets: 62 days by
// hour. With EachScene the scenes times the buckets are at most 400,000. Beyond that there is
// [ErrInvalidQuery].
type Query struct {
	// From and To are the first and the last day, both of them included: their dates in the
	// time zone of [Store.Location]. Zero: To is today, From is 29 days before To.
	From, To time.Time
	By       Interval // zero: Day

	Scenes []string // only these, as they are counted; see [Config.Scene]
	Group  string   // only the scenes of this group; see [Store.Label]
	Search string   // only scenes whose Scene, Name or Group contains this text, in any case

	// Limit is how many scenes are in Report.Scenes at most: those with the most scans. Zero: 1,000;
	// negative: all.
	Limit     int
	EachScene bool // fill SceneReport.Buckets
}

// A Report tells what the codes brought in a range of days.
type Report struct {
	From time.Time `json:"from"` // the beginning of the first day
	To   time.Time `json:"to"`   // the beginning of the day after the last
	By   Interval  `json:"by"`
	Zone string    `json:"zone"` // the store's time zone

	Total   Counts        `json:"total"`   // of all scenes that the query asks for
	Other   Counts        `json:"other"`   // followers that no code brought; zero if the query asks for some scenes only
	Buckets []Bucket      `json:"buckets"` // the total cut into buckets, in order, without a gap
	Scenes  []SceneReport `json:"scenes"`
	More    int           `json:"more"`   // scenes that Limit left out of Scenes; Total has them
	Groups  []string      `json:"groups"` // all groups that there are, in order

	eachScene bool // as in the query: no scene tells so where there is none
}

// Counts are what is counted of a scene in some time.
type Counts struct {
	Scans        int64 `json:"scans"`         // of codes, by new followers and by old ones
	NewFollowers int64 `json:"new_followers"` // follows
	// People are those who scanned; one who scans more than once counts once. In a total they
	// count once for all scenes together, but in the total of a query for some scenes once for
	// each scene.
	People int64 `json:"people"`
	Lost   int64 `json:"lost"` // unsubscribes, counted for the scene that had brought the follower
	// Stayed tells of the new followers how many still followed after 1, 7 and 30 days.
	Stayed [3]Stay `json:"stayed"`
}

// A Stay tells how many new followers still followed after some days. Those who came too
// recently to tell are in neither number.
type Stay struct {
	Days   int   `json:"days"`   // 1, 7 or 30, each of 24 hours
	Of     int64 `json:"of"`     // new followers who came long enough ago
	Stayed int64 `json:"stayed"` // of these, those who still followed then
}

// A Bucket is one slice of a report's range: an hour, a day, a week or a month. The first and the
// last may be cut by the range.
type Bucket struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Counts
}

// A SceneReport is what one scene brought.
type SceneReport struct {
	Scene string `json:"scene"`
	Name  string `json:"name"` // see [Store.Label]
	Group string `json:"group"`
	Counts
	Buckets []Bucket `json:"buckets,omitempty"` // as in the report, if [Query.EachScene]
}

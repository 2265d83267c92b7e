package wxqrcode_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

func TestScene_Limits(t *testing.T) {
	assert.Equal(t, 2_592_000*time.Second, wxqrcode.MaxLifetime)
	assert.Equal(t, 100_000, wxqrcode.MaxPermanentID)
	assert.Equal(t, 64, wxqrcode.MaxSceneStr)
}

func TestScene_Key(t *testing.T) {
	for _, tt := range []struct {
		name  string
		scene wxqrcode.Scene
		id    uint32
		isID  bool
		key   string
	}{
		{"a number", wxqrcode.SceneID(123), 123, true, "123"},
		{"the highest number", wxqrcode.SceneID(math.MaxUint32), math.MaxUint32, true, "4294967295"},
		{"zero is a number, if no valid one", wxqrcode.SceneID(0), 0, true, "0"},
		{"a text", wxqrcode.SceneStr("店铺/7"), 0, false, "店铺/7"},
		{"a text of digits is no number", wxqrcode.SceneStr("123"), 0, false, "123"},
		{"a text is not quoted", wxqrcode.SceneStr("a\"b\n"), 0, false, "a\"b\n"},
		{"a text with the prefix of a follow keeps it", wxqrcode.SceneStr("qrscene_1"), 0, false, "qrscene_1"},
		{"an empty text is a text, if no valid one", wxqrcode.SceneStr(""), 0, false, ""},
		{"the zero Scene is neither", wxqrcode.Scene{}, 0, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, isID := tt.scene.ID()
			assert.Equal(t, tt.id, id)
			assert.Equal(t, tt.isID, isID)
			assert.Equal(t, tt.key, tt.scene.Key())
			assert.Equal(t, tt.key, tt.scene.String())
		})
	}
}

func TestScene_Comparable(t *testing.T) {
	same := map[wxqrcode.Scene]string{
		wxqrcode.SceneID(1):     "id 1",
		wxqrcode.SceneID(2):     "id 2",
		wxqrcode.SceneStr("1"):  "text 1",
		wxqrcode.SceneStr("01"): "text 01",
		wxqrcode.SceneID(0):     "id 0",
		wxqrcode.SceneStr(""):   "no text",
		{}:                      "nothing",
	}
	assert.Len(t, same, 7)
	assert.Equal(t, "id 1", same[wxqrcode.SceneID(1)])
	assert.Equal(t, "text 1", same[wxqrcode.SceneStr("1")])
	assert.Equal(t, "nothing", same[wxqrcode.Scene{}])
}

func TestRandomScene_IsPrefixAndRandomBase32(t *testing.T) {
	const draws = 1000
	seen := make(map[string]bool, draws)
	var letters [26]map[byte]bool // by position
	for range draws {
		s := wxqrcode.RandomScene("login_")
		_, isID := s.ID()
		require.False(t, isID)
		require.Regexp(t, `^login_[A-Z2-7]{26}$`, s.Key())
		seen[s.Key()] = true
		for i, c := range []byte(strings.TrimPrefix(s.Key(), "login_")) {
			if letters[i] == nil {
				letters[i] = map[byte]bool{}
			}
			letters[i][c] = true
		}
	}
	assert.Len(t, seen, draws, "a scene came twice")
	for i, l := range letters {
		// 26 characters of 5 bits each hold 130, so all but two bits must be random.
		assert.GreaterOrEqual(t, len(l), 8, "character %d is hardly random", i)
	}
}

func TestRandomScene_PrefixOf38Bytes(t *testing.T) {
	for _, tt := range []struct {
		name, prefix string
		valid        bool
	}{
		{"no prefix", "", true},
		{"38 bytes", strings.Repeat("p", 38), true},
		{"39 bytes", strings.Repeat("p", 39), false},
		{"38 bytes of Chinese", strings.Repeat("扫", 12) + "pp", true},
		{"39 bytes of Chinese, though only 13 characters", strings.Repeat("扫", 13), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := wxqrcode.RandomScene(tt.prefix)
			assert.Len(t, s.Key(), len(tt.prefix)+26)
			assert.True(t, strings.HasPrefix(s.Key(), tt.prefix), "the whole prefix")
			err := wxqrcode.Temporary(s, time.Minute).Validate()
			if tt.valid {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
		})
	}
}

func TestScene_JSON(t *testing.T) {
	for text, scene := range map[string]wxqrcode.Scene{
		`{"scene_id":1}`:          wxqrcode.SceneID(1),
		`{"scene_id":4294967295}`: wxqrcode.SceneID(math.MaxUint32),
		`{"scene_str":"1"}`:       wxqrcode.SceneStr("1"),
		`{"scene_str":"店\"铺"}`:    wxqrcode.SceneStr(`店"铺`),
	} {
		b, err := json.Marshal(scene)
		require.NoError(t, err)
		assert.Equal(t, text, string(b))
		var back wxqrcode.Scene
		require.NoError(t, json.Unmarshal(b, &back))
		assert.Equal(t, scene, back)
	}
	for _, text := range []string{
		`{}`, `[]`, `1`, `"x"`, `{"scene_id":0}`, `{"scene_id":-1}`, `{"scene_id":"1"}`, `{"scene_id":4294967296}`, `{"scene_id":1.5}`,
		`{"scene_str":""}`, `{"scene_str":1}`, `{"scene_id":1,"scene_str":"1"}`, `{"scene_str":"a]]> <b"}`,
	} {
		var s wxqrcode.Scene
		require.ErrorIs(t, json.Unmarshal([]byte(text), &s), wxqrcode.ErrInvalidRequest, text)
		assert.Equal(t, wxqrcode.Scene{}, s)
	}
}

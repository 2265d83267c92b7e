package render_test

import (
	"bytes"
	"fmt"
	"image/png"
	"log"

	"github.com/seed-0142d113/wxqrcode/render"
)

// A poster needs more pixels than WeChat's own picture has, and a code that
// survives a tear.
func ExamplePNG() {
	var poster bytes.Buffer
	err := render.PNG(&poster, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", render.Options{
		Size:  2000,
		Level: render.LevelH,
	})
	if err != nil {
		log.Fatal(err)
	}
	config, err := png.DecodeConfig(&poster)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Width, "x", config.Height)
	// Output: 2000 x 2000
}

package tcep

import (
	"maps"
	"slices"
	"strings"

	"tamv.internal/tamv/tap"
)

// minorUnits lists the supported currencies by their number of decimals: the
// active national currencies of ISO 4217 with their minor units, and crypto
// assets with the decimals of their smallest unit, eight at most.
var minorUnits = map[int]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF " +
		"CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL " +
		"HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU " +
		"MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR " +
		"SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED " +
		"VES WST XCD XCG YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
	6: "ADA USDC USDT XRP",
	8: "BCH BTC DOGE DOT ETH LTC SOL XMR",
}

// decimals maps a currency's code to its number of decimals.
var decimals = func() map[string]int {
	table := map[string]int{}
	for n, codes := range minorUnits {
		for code := range strings.FieldsSeq(codes) {
			table[code] = n
		}
	}
	return table
}()

// Currency is a supported currency.
type Currency struct {
	Code     string `json:"code"`     // ISO 4217, or the usual ticker of a crypto asset
	Decimals int    `json:"decimals"` // 0 to 8: the most an amount may have
}

// Currencies lists what is supported, by code.
func Currencies() []Currency {
	list := make([]Currency, 0, len(decimals))
	for _, code := range slices.Sorted(maps.Keys(decimals)) {
		list = append(list, Currency{code, decimals[code]})
	}
	return list
}

// currency looks a code up. Codes are upper case.
func currency(code string) (Currency, error) {
	n, ok := decimals[code]
	if !ok {
		return Currency{}, tap.E("tcep.currency", tap.Invalid, "this currency is not supported; GET /v1/economy/currencies lists those that are").
			WithCode("currency")
	}
	return Currency{code, n}, nil
}

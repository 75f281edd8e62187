//! Symbols of the Brazilian exchange: shares, funds and ETFs, with plausible first prices.

/// A symbol and where its walk begins.
#[derive(Debug)]
pub(super) struct Symbol {
    pub(super) ticker: &'static str,
    pub(super) name: &'static str,
    pub(super) short_name: &'static str,
    /// In hundredths.
    pub(super) price: i64,
}

const fn symbol(ticker: &'static str, name: &'static str, short_name: &'static str, price: i64) -> Symbol {
    Symbol { ticker, name, short_name, price }
}

pub(super) const SYMBOLS: [Symbol; 50] = [
    symbol("PETR4", "Petróleo Brasileiro S.A. - Petrobras", "PETROBRAS PN", 3742),
    symbol("VALE3", "Vale S.A.", "VALE ON", 6218),
    symbol("ITUB4", "Itaú Unibanco Holding S.A.", "ITAUUNIBANCO PN", 3391),
    symbol("BBDC4", "Banco Bradesco S.A.", "BRADESCO PN", 1487),
    symbol("BBAS3", "Banco do Brasil S.A.", "BRASIL ON", 2756),
    symbol("ABEV3", "Ambev S.A.", "AMBEV ON", 1234),
    symbol("WEGE3", "WEG S.A.", "WEG ON", 5190),
    symbol("B3SA3", "B3 S.A. - Brasil, Bolsa, Balcão", "B3 ON", 1163),
    symbol("ITSA4", "Itaúsa S.A.", "ITAUSA PN", 1012),
    symbol("SUZB3", "Suzano S.A.", "SUZANO ON", 5577),
    symbol("RENT3", "Localiza Rent a Car S.A.", "LOCALIZA ON", 4328),
    symbol("RADL3", "Raia Drogasil S.A.", "RAIADROGASIL ON", 2461),
    symbol("EQTL3", "Equatorial S.A.", "EQUATORIAL ON", 3205),
    symbol("PRIO3", "PRIO S.A.", "PETRORIO ON", 4469),
    symbol("LREN3", "Lojas Renner S.A.", "LOJAS RENNER ON", 1538),
    symbol("GGBR4", "Gerdau S.A.", "GERDAU PN", 1893),
    symbol("CSNA3", "Companhia Siderúrgica Nacional", "SID NACIONAL ON", 1127),
    symbol("USIM5", "Usinas Siderúrgicas de Minas Gerais S.A.", "USIMINAS PNA", 646),
    symbol("GOAU4", "Metalúrgica Gerdau S.A.", "GERDAU MET PN", 1044),
    symbol("SBSP3", "Companhia de Saneamento Básico do Estado de São Paulo", "SABESP ON", 8832),
    symbol("VIVT3", "Telefônica Brasil S.A.", "TELEF BRASIL ON", 5015),
    symbol("TIMS3", "TIM S.A.", "TIM ON", 1771),
    symbol("CMIG4", "Companhia Energética de Minas Gerais", "CEMIG PN", 1128),
    symbol("TAEE11", "Transmissora Aliança de Energia Elétrica S.A.", "TAESA UNT", 3466),
    symbol("EGIE3", "Engie Brasil Energia S.A.", "ENGIE BRASIL ON", 4253),
    symbol("ENGI11", "Energisa S.A.", "ENERGISA UNT", 4501),
    symbol("RAIL3", "Rumo S.A.", "RUMO S.A. ON", 2089),
    symbol("HAPV3", "Hapvida Participações e Investimentos S.A.", "HAPVIDA ON", 388),
    symbol("RDOR3", "Rede D'Or São Luiz S.A.", "REDE D OR ON", 2843),
    symbol("UGPA3", "Ultrapar Participações S.A.", "ULTRAPAR ON", 2310),
    symbol("VBBR3", "Vibra Energia S.A.", "VIBRA ON", 2254),
    symbol("CSAN3", "Cosan S.A.", "COSAN ON", 1396),
    symbol("KLBN11", "Klabin S.A.", "KLABIN S/A UNT", 2187),
    symbol("TOTS3", "TOTVS S.A.", "TOTVS ON", 2972),
    symbol("MGLU3", "Magazine Luiza S.A.", "MAGAZ LUIZA ON", 1276),
    symbol("SANB11", "Banco Santander (Brasil) S.A.", "SANTANDER BR UNT", 2859),
    symbol("BBSE3", "BB Seguridade Participações S.A.", "BBSEGURIDADE ON", 3318),
    symbol("PSSA3", "Porto Seguro S.A.", "PORTO SEGURO ON", 3140),
    symbol("MULT3", "Multiplan Empreendimentos Imobiliários S.A.", "MULTIPLAN ON", 2517),
    symbol("CYRE3", "Cyrela Brazil Realty S.A.", "CYRELA REALT ON", 2093),
    symbol("HGLG11", "Pátria Log Fundo de Investimento Imobiliário", "FII HGLG", 15986),
    symbol("KNRI11", "Kinea Renda Imobiliária FII", "FII KINEA", 15840),
    symbol("MXRF11", "Maxi Renda FII", "FII MAXI REN", 1013),
    symbol("XPML11", "XP Malls FII", "FII XP MALLS", 11427),
    symbol("VISC11", "Vinci Shopping Centers FII", "FII VINCI SC", 11764),
    symbol("BTLG11", "BTG Pactual Logística FII", "FII BTLG", 10132),
    symbol("BOVA11", "iShares Ibovespa Fundo de Índice", "ISHARES BOVA", 12466),
    symbol("IVVB11", "iShares S&P 500 Fundo de Índice", "ISHARE SP500", 28653),
    symbol("SMAL11", "iShares BM&FBOVESPA Small Cap Fundo de Índice", "ISHARES SMAL", 10288),
    symbol("HASH11", "Hashdex Nasdaq Crypto Index Fundo de Índice", "HASHDEX NCI", 4871),
];
